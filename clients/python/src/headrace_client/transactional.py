"""Submits jobs inside the caller's own transaction, with the driver that the caller uses, blocking.

The jobs exist once the transaction is committed. None of these classes commits or rolls back.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Unpack
from uuid import UUID

from headrace_client.calls import BatchJob, SubmitOptions
from headrace_client.sql_calls import (
    Schemas,
    SqlCall,
    SqlCalls,
    as_uuid,
    check_params,
    refusal_of,
    sqlalchemy_call,
)


class TransactionalJobs(ABC):
    """Submits jobs over one connection to the database of Headrace."""

    def __init__(
        self, connection: Any, /, *, schema: str = "headrace", owner: str | UUID | None = None
    ) -> None:
        """*schema*: that of Headrace · *owner*: the name or the id of the user who is to own the jobs."""
        self._connection = connection
        self._calls = SqlCalls(schema, owner)

    def submit(
        self,
        pipeline: str,
        params: Any = None,
        *,
        key: str | None = None,
        validate: bool = False,
        **options: Unpack[SubmitOptions],
    ) -> UUID:
        """Submit a job in the open transaction; return its id. The same *key* again returns the same id.

        A worker validates *params*; if they do not fit, the job fails. With *validate* they are checked now.

        Raises:
            SubmissionRefusedError: PostgreSQL refuses the job; the transaction must be rolled back.
            ParamsRefusedError: *params* do not fit the pipeline's schema; nothing was sent.
            ValidatorMissingError: *validate* needs a package that is not installed.
        """
        if validate:
            self._check(pipeline, options.get("version"), params, "$.params", {})
        return as_uuid(self._run(self._calls.submit(pipeline, params, key, options))[0])

    def submit_many(
        self, jobs: Sequence[BatchJob], *, key: str | None = None, validate: bool = False
    ) -> list[UUID]:
        """Submit up to 1,000 jobs with one statement, all or none; return their ids. Raises as `submit`."""
        schemas: Schemas = {}
        for index, job in enumerate(jobs if validate else ()):
            at = f"$.jobs[{index}].params"
            self._check(job["pipeline"], job.get("version"), job.get("params"), at, schemas)
        return [as_uuid(value) for value in self._run(self._calls.submit_many(jobs, key))]

    def _check(self, pipeline: str, version: int | None, params: Any, at: str, schemas: Schemas) -> None:
        """Check *params*; *schemas* are those that were read for this call."""
        if (pipeline, version) not in schemas:
            schemas[pipeline, version] = self._run(self._calls.schema_of(pipeline, version))[0]
        check_params(schemas[pipeline, version], pipeline, params, at)

    def _run(self, call: SqlCall) -> list[Any]:
        try:
            return self._fetch(call)
        except Exception as error:
            if (refusal := refusal_of(error)) is None:
                raise
            raise refusal from error

    @abstractmethod
    def _fetch(self, call: SqlCall) -> list[Any]:
        """Run *call* and return its column."""


class PsycopgJobs(TransactionalJobs):
    """Submits jobs in the transaction of a `psycopg.Connection`."""

    def _fetch(self, call: SqlCall) -> list[Any]:
        # The connection's own cursors may return rows of another shape.
        tuple_row = importlib.import_module("psycopg.rows").tuple_row
        with self._connection.cursor(row_factory=tuple_row) as cursor:
            return [row[0] for row in cursor.execute(call.with_placeholders("%s"), call.arguments)]


class SessionJobs(TransactionalJobs):
    """Submits jobs in the transaction of a SQLAlchemy `Session` or `Connection`."""

    def _fetch(self, call: SqlCall) -> list[Any]:
        return list(self._connection.execute(*sqlalchemy_call(call)).scalars())
