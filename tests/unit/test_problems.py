"""Errors and their problem responses."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any, get_type_hints
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from litestar.exceptions import InternalServerException, ValidationException
from litestar.testing import RequestFactory

from headrace.api.error_codes import CODES
from headrace.api.errors import InvalidInputError
from headrace.api.middleware.rate_limits import RateLimitedError
from headrace.api.problems import handle
from headrace.api.schemas import ProblemError
from headrace.domain.accounts.caller import UnauthenticatedError
from headrace.domain.errors import HeadraceError
from headrace.domain.jobs.states import JobState
from headrace.domain.pipelines.service import Fault
from headrace.domain.quotas.quotas import QuotaName

# Errors that no request raises: those of workers, pipeline authors and startup; and base classes.
NEVER_RAISED_BY_REQUESTS = {
    "AnotherBackupError",
    "ArchiveDamagedError",
    "ArchiveExistsError",
    "ArchiveNotWrittenError",
    "ChangeRefusedError",
    "ClockOffError",
    "DatabaseNotEmptyError",
    "DecryptionError",
    "FolderUnusableError",
    "IndexNotBuiltError",
    "JobCancelledError",
    "JsonRefusedError",
    "LeaseLostError",
    "LockHeldError",
    "MessageRefusedError",
    "MigrationRunsError",
    "MissingExtraError",
    "NoNameLeftError",
    "NoRoomError",
    "NothingToBackUpError",
    "PermanentError",
    "PipelineChangedError",
    "PipelineDefinitionError",
    "PipelineRefusedError",
    "RedisRefusedError",
    "RemoteRefusedError",
    "RetryableError",
    "SchemaAheadError",
    "SchemaBehindError",
    "SchemaError",
    "RulePutOffError",
    "SchemaLockedError",
    "SchemaNotInDumpError",
    "ServerError",
    "ServerUrlError",
    "ServiceRunsError",
    "SourceNotFoundError",
    "TakenError",
    "TooFewConnectionsError",
    "TooManyRowsError",
    "TracingNotInstalledError",
    "ToolError",
    "UnfinishedRestoreError",
    "UnguardedRouteError",
    "UnknownKeyError",
}
WITH_THEIR_OWN_CODE = {UnauthenticatedError, InvalidInputError}
VALUES: dict[Any, Any] = {
    str: "it",
    QuotaName: "streams",
    bool: True,
    int: 7,
    JobState: JobState.FAILED,
    list[Fault]: [Fault("$.x", "is bad")],
    list[ProblemError]: [ProblemError("query.x", "is bad")],
}


def example_of(kind: type[HeadraceError]) -> HeadraceError:
    """Return an error of that class with any arguments."""
    if kind is RateLimitedError:
        return RateLimitedError("user", 7)
    if "__init__" not in vars(kind):
        return kind("it is so")
    hints = get_type_hints(kind.__init__)
    return kind(
        **{
            name: VALUES.get(hint, uuid4())
            for name, hint in hints.items()
            if name not in ("return", "version")
        }
    )


def errors() -> Iterator[type[HeadraceError]]:
    """Import all modules that requests use, and yield their error classes."""
    for package in ("domain", "adapters", "api"):
        for module in pkgutil.walk_packages(
            importlib.import_module(f"headrace.{package}").__path__, f"headrace.{package}."
        ):
            importlib.import_module(module.name)
    kinds = HeadraceError.__subclasses__()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind.__module__.split(".")[1] in ("domain", "adapters", "api"):
            yield kind


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_each_error_has_its_status_its_code_and_its_detail(kind: type[HeadraceError]) -> None:
    status, code = CODES[kind]
    error = example_of(kind)

    response = handle(RequestFactory().get("/somewhere"), error)

    body = msgspec.json.decode(response.content)
    assert (response.status_code, response.media_type) == (status, "application/problem+json")
    assert (body["status"], body["code"], body["detail"]) == (status, code, str(error))
    assert (body["type"], body["instance"]) == (f"urn:headrace:problem:{code}", "/somewhere")


def test_every_error_class_has_a_status_or_is_listed_as_never_raised_by_requests() -> None:
    with_status = set(CODES) | WITH_THEIR_OWN_CODE
    names = {kind.__name__ for kind in errors() if kind not in with_status}

    assert names == NEVER_RAISED_BY_REQUESTS
    statuses = {status for status, _ in CODES.values()}
    assert statuses >= {400, 403, 404, 409, 413, 415, 422, 429, 503}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (asyncpg.CannotConnectNowError("starting"), 503),
        (asyncpg.TooManyConnectionsError("full"), 503),
        (asyncpg.InterfaceError("connection is closed"), 503),
        (asyncpg.DeadlockDetectedError("deadlock"), 503),
        (asyncpg.ReadOnlySQLTransactionError("read-only"), 503),
        (asyncpg.DiskFullError("full"), 503),
        (asyncpg.PostgresIOError("broken"), 503),
        (asyncpg.InsufficientPrivilegeError("not yours"), 503),
        (asyncpg.InternalServerError("corrupt"), 503),
        (asyncpg.UniqueViolationError("ours"), 500),
        (asyncpg.ForeignKeyViolationError("gone"), 409),
        (asyncpg.UntranslatableCharacterError("nul"), 422),
        (asyncpg.UndefinedColumnError("ours"), 500),
        (ConnectionRefusedError(), 500),
        (InternalServerException("client disconnected prematurely"), 400),
        (ZeroDivisionError(), 500),
    ],
)
def test_errors_of_libraries_have_a_status_and_only_503_has_a_retry_after(
    error: Exception, status: int
) -> None:
    response = handle(RequestFactory().get("/"), error)

    assert response.status_code == status
    assert ("Retry-After" in response.headers) == (status == 503)


def test_a_chain_of_causes_that_is_a_circle_is_answered() -> None:
    first, second = asyncpg.UndefinedColumnError("ours"), asyncpg.UndefinedColumnError("too")
    first.__cause__, second.__cause__ = second, first

    assert handle(RequestFactory().get("/"), first).status_code == 500


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ("Object contains unknown field `prams`", "$.prams"),
        ("Object contains unknown field `prams` - at `$.jobs[1]`", "$.jobs[1].prams"),
        ("Expected `int`, got `str` - at `$.priority`", "$.priority"),
    ],
)
def test_a_field_that_a_body_must_not_have_is_named_by_the_path(message: str, path: str) -> None:
    details = [{"message": message, "key": "data", "source": "body"}]
    request = RequestFactory().post("/api/v1/jobs", data={"prams": 1})

    problem = handle(request, ValidationException("Validation failed", extra=details))

    (fault,) = msgspec.json.decode(problem.content)["errors"]
    assert fault == {"path": path, "message": message.partition(" - at ")[0]}
