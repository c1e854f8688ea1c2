"""Services and repositories offer no method that skips the check of ownership."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any, Final, get_type_hints

import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

import headrace.domain
from headrace.app import create_app
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.identity_repository import IdentityRepository
from headrace.domain.accounts.reach import Reach
from headrace.domain.accounts.repository import UserRepository
from headrace.domain.accounts.scopes import Scope
from headrace.domain.accounts.service import UserService
from headrace.domain.base import Session
from headrace.settings import Settings

# Users have no owner: the last test checks that only admins reach them. Sign-in precedes any reach.
WITHOUT_REACH: Final = (UserService, UserRepository, IdentityRepository)
FOR_ADMINS: Final = {"user_service", "audit_service"}


def classes_with_a_session() -> Iterator[type]:
    """Return the services and repositories that serve requests."""
    for module in pkgutil.walk_packages(headrace.domain.__path__, "headrace.domain."):
        for name, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            is_defined_here = kind.__module__ == module.name and name.endswith(("Service", "Repository"))
            if is_defined_here and Session in get_type_hints(kind.__init__).values():
                yield kind


KINDS: Final = list(classes_with_a_session())


def public_methods(kind: type) -> dict[str, Any]:
    return {name: method for name, method in vars(kind).items() if not name.startswith("_")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_inherits_no_public_methods(kind: type) -> None:
    assert {name for name in dir(kind) if not name.startswith("_")} == public_methods(kind).keys()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WITHOUT_REACH])
def test_every_method_with_an_id_takes_a_reach(kind: type) -> None:
    unbounded = []
    for name, method in public_methods(kind).items():
        hints = get_type_hints(method)
        ids = {
            parameter for parameter, hint in hints.items() if "UUID" in str(hint) and parameter != "return"
        }
        # The owner of a new object is the caller, or was fetched within the caller's reach.
        if ids - {"owner_id"} and not {Reach, CurrentUser} & set(hints.values()):
            unbounded.append(name)

    assert unbounded == []


def test_the_services_and_repositories_are_found() -> None:
    names = {kind.__name__ for kind in KINDS}

    assert {
        "JobService",
        "FileService",
        "PresetService",
        "TagService",
        "ApiKeyService",
        "JobRepository",
    } <= names


def test_only_admins_reach_objects_without_an_owner() -> None:
    app = create_app(Settings(database_url="postgresql://nowhere/x"))
    handlers: list[HTTPRouteHandler] = [
        handler for route in app.routes if isinstance(route, HTTPRoute) for handler in route.route_handlers
    ]
    scopes = {
        handler.handler_name: handler.opt.get("scope")
        for handler in handlers
        if FOR_ADMINS & handler.parsed_fn_signature.parameters.keys()
    }

    assert len(scopes) >= 5
    assert set(scopes.values()) == {Scope.ADMIN}
