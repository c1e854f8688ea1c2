"""The calls of Headrace's functions in PostgreSQL, and their refusals, for every driver."""

import importlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct

from headrace_client.calls import BatchJob, SubmitOptions, encode
from headrace_client.errors import Fault, ParamsRefusedError, SubmissionRefusedError, ValidatorMissingError

_SCHEMA_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)
_REFUSED: Final = re.compile(r"JH(?P<status>[0-9]{3})")
_VALIDATOR: Final = "jsonschema_rs"
_MAX_FAULTS: Final = 100


_JSON: Final = "CAST(CAST({} AS text) AS jsonb)"

Schemas = dict[tuple[str, int | None], str | None]
"""Answers of `SqlCalls.schema_of` by pipeline and version."""


class SqlCall(Struct, frozen=True):
    """A statement with one column. `{}` stands for the placeholder of each argument, which is a text."""

    statement: str
    arguments: Sequence[str | None]

    def with_placeholders(self, placeholder: str) -> str:
        """Return the statement; `#` in *placeholder* stands for the number of the argument."""
        numbered = [placeholder.replace("#", str(number + 1)) for number in range(len(self.arguments))]
        return self.statement.format(*numbered)


class SqlCalls:
    """Builds the calls for one installation, which lies in the PostgreSQL schema *schema*."""

    def __init__(self, schema: str, owner: str | UUID | None) -> None:
        if _SCHEMA_NAME.fullmatch(schema) is None:
            raise ValueError(f"{schema!r} is not the name of a schema: letters, digits and _")
        self._schema = schema
        self._owner = owner

    def submit(self, pipeline: str, params: Any, key: str | None, options: SubmitOptions) -> SqlCall:
        return SqlCall(
            f'SELECT "{self._schema}".submit(CAST({{}} AS text), {_JSON}, {_JSON})',
            (pipeline, _encode({} if params is None else params), _encode({**options, **self._terms(key)})),
        )

    def submit_many(self, jobs: Sequence[BatchJob], key: str | None) -> SqlCall:
        return SqlCall(
            f'SELECT job_id FROM "{self._schema}".submit_many({_JSON}, {_JSON})'  # noqa: S608
            " WITH ORDINALITY AS submitted(job_id, place) ORDER BY place",
            (_encode(jobs), _encode(self._terms(key))),
        )

    def schema_of(self, pipeline: str, version: int | None) -> SqlCall:
        return SqlCall(
            f'SELECT CAST("{self._schema}".pipeline_schema('
            "CAST({} AS text), CAST(CAST({} AS text) AS int)) AS text)",
            (pipeline, None if version is None else str(version)),
        )

    def _terms(self, key: str | None) -> dict[str, str]:
        terms = {} if key is None else {"idempotency_key": key}
        return terms if self._owner is None else {**terms, "owner": str(self._owner)}


def check_params(stored: str | None, pipeline: str, params: Any, at: str = "$.params") -> None:
    """Check *params* against the answer of `SqlCalls.schema_of`, which is None for an unknown pipeline.

    Raises:
        ParamsRefusedError: they do not fit the schema. The paths of its faults begin with *at*.
        SubmissionRefusedError: there is no such pipeline.
        ValidatorMissingError: the package that validates is not installed.
    """
    if stored is None:
        raise SubmissionRefusedError(422, "pipeline_unknown", f"there is no pipeline {pipeline!r}")
    try:
        validator_for = importlib.import_module(_VALIDATOR).validator_for
    except ImportError as error:
        raise ValidatorMissingError from error
    schema = msgspec.json.decode(stored)["params_schema"]
    # The check sees the JSON that is submitted.
    value = msgspec.json.decode(_encode({} if params is None else params))
    errors = validator_for(schema, validate_formats=True).iter_errors(value)
    faults = [fault for error in errors for fault in _faults_of(error, at)]
    if faults:
        raise ParamsRefusedError(pipeline, faults[:_MAX_FAULTS])


def _faults_of(error: Any, at: str) -> Iterator[Fault]:
    """Yield the faults of one validation error: each field that must not be there has its own path."""
    if error.kind.name not in ("additionalProperties", "unevaluatedProperties"):
        yield Fault(at + _path(error.instance_path), error.message)
        return
    for name in error.kind.unexpected:
        yield Fault(at + _path([*error.instance_path, name]), f"there is no field {name!r}")


def sqlalchemy_call(call: SqlCall) -> tuple[Any, dict[str, str | None]]:
    """Return the statement and the parameters of *call* for SQLAlchemy, which its caller has installed."""
    statement = importlib.import_module("sqlalchemy").text(call.with_placeholders(":value_#"))
    return statement, {f"value_{number}": value for number, value in enumerate(call.arguments, 1)}


def as_uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(str(value))


def refusal_of(error: BaseException) -> SubmissionRefusedError | None:
    """Return the refusal in an exception of a driver or of SQLAlchemy; None if it is another one."""
    for part in _parts(error):
        match = _REFUSED.fullmatch(str(getattr(part, "sqlstate", "") or ""))
        if match is not None and (said := _said(part)) is not None:
            return SubmissionRefusedError(int(match["status"]), *said)
    return None


def _said(error: BaseException) -> tuple[str, str] | None:
    """Return the detail and the message of an error of PostgreSQL: psycopg has them in `diag`."""
    diagnostics = getattr(error, "diag", None)
    if diagnostics is not None:
        return diagnostics.message_detail, diagnostics.message_primary
    # SQLAlchemy's own error for asyncpg has a SQLSTATE, and asyncpg's error as its cause.
    return (error.detail, error.message) if hasattr(error, "detail") and hasattr(error, "message") else None


def _parts(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and those that SQLAlchemy wraps in it."""
    original = getattr(error, "orig", None)
    for part in (error, original, original and original.__cause__):
        if isinstance(part, BaseException):
            yield part


def _path(keys: Sequence[str | int]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)


def _encode(value: Any) -> str:
    return encode(value).decode()
