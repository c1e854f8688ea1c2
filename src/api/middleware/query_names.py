"""Refuses query parameters that a route does not have: a filter that is misspelt would select everything."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.routes import HTTPRoute, WebSocketRoute
from msgspec import Struct

from headrace.api.schemas import ProblemError
from headrace.domain.errors import HeadraceError
from headrace.domain.spelling import nearest

# The key under which `opt` of a handler holds its parameters.
_KEY: Final = "query"
# Authentication reads it before the handler of a route that accepts job tokens.
_TOKEN: Final = "token"  # noqa: S105  (its name)
# Finding the nearest of a route's names takes a fraction of a millisecond.
_MAX_SUGGESTIONS: Final = 10
_MAX_SHOWN_CHARS: Final = 64


class UnknownParametersError(HeadraceError):
    """The query has parameters that the route does not have. *faults* lists them and what else is wrong."""

    def __init__(self, faults: list[ProblemError]) -> None:
        super().__init__("the request does not fit")
        self.faults = faults


class QueryParameters(Struct, frozen=True):
    """The query parameters of a route.

    *types* has those that Litestar parses, by their names; *lists* those that may come several times.
    """

    names: frozenset[str]
    types: dict[str, Any] = {}
    lists: frozenset[str] = frozenset()


def register_query_parameters(routes: Iterable[Any]) -> None:
    """Note in each handler which query parameters it has.

    `opt` of a socket's handler names them itself as `query`. A handler with `any_query` is exempt: providers
    add parameters of their own when they redirect a browser back.
    """
    for route in routes:
        if isinstance(route, HTTPRoute):
            for handler, model in route.route_handler_map.values():
                parameters = model.expected_query_params
                annotations = (
                    {} if handler.signature_model is None else handler.signature_model.__annotations__
                )
                handler.opt[_KEY] = QueryParameters(
                    _names((item.field_alias for item in parameters), handler.opt),
                    # Parameters of dependencies are not in the handler's signature.
                    {
                        item.field_alias: annotations[item.field_name]
                        for item in parameters
                        if item.field_name in annotations
                    },
                    frozenset(item.field_alias for item in parameters if item.is_sequence),
                )
        elif isinstance(route, WebSocketRoute):
            opt = route.route_handler.opt
            opt[_KEY] = QueryParameters(_names(opt[_KEY], opt))


def check_query_names(request: Request[Any, Any, Any]) -> None:
    """Check that the route has all parameters of the query.

    Raises:
        UnknownParametersError: it lacks some. The error also has the faults of the others.
    """
    opt = request.route_handler.opt
    if not request.scope["query_string"] or "any_query" in opt or _KEY not in opt:
        return
    known: QueryParameters = opt[_KEY]
    unknown = [name for name in request.query_params if name not in known.names]
    if unknown:
        faults = [*_unknown_faults(unknown, known.names), *_invalid_faults(request, known)]
        raise UnknownParametersError(faults)


def explain_unknown_names(names: Iterable[str], opt: dict[str, Any]) -> str | None:
    """Return a sentence about the parameters that a socket does not have; None if it has all."""
    known: QueryParameters = opt[_KEY]
    unknown = [name for name in names if name not in known.names]
    return "; ".join(fault.message for fault in _unknown_faults(unknown, known.names)) or None


def _names(names: Iterable[str], opt: dict[str, Any]) -> frozenset[str]:
    return frozenset(names) | ({_TOKEN} if "job_token" in opt else set())


def _unknown_faults(unknown: Collection[str], known: frozenset[str]) -> Iterator[ProblemError]:
    names = sorted(known)
    for index, name in enumerate(dict.fromkeys(unknown)):
        suggestion = nearest(name, names) if index < _MAX_SUGGESTIONS else None
        if suggestion is not None:
            advice = f"did you mean {suggestion!r}?"
        else:
            advice = f"there are {', '.join(names)}" if names else "there are none here"
        shown = name[:_MAX_SHOWN_CHARS]
        yield ProblemError(f"query.{shown}", f"there is no query parameter {shown!r}; {advice}")


def _invalid_faults(request: Request[Any, Any, Any], known: QueryParameters) -> Iterator[ProblemError]:
    for name, kind in known.types.items():
        if name not in request.query_params:
            continue
        value = request.query_params.getall(name) if name in known.lists else request.query_params[name]
        try:
            msgspec.convert(value, kind, strict=False)
        except msgspec.ValidationError as error:
            yield ProblemError(f"query.{name}", str(error))
