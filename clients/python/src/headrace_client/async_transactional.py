"""Submits jobs inside the caller's own transaction, with the driver that the caller uses, awaited.

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


class AsyncTransactionalJobs(ABC):
    """Submits jobs over one connection to the database of Headrace."""

    def __init__(
        self, connection: Any, /, *, schema: str = "headrace", owner: str | UUID | None = None
    ) -> None:
        """*schema*: that of Headrace · *owner*: the name or the id of the user who is to own the jobs."""
        self._connection = connection
        self._calls = SqlCalls(schema, owner)

    async def submit(
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
            await self._check(pipeline, options.get("version"), params, "$.params", {})
        return as_uuid((await self._run(self._calls.submit(pipeline, params, key, options)))[0])

    async def submit_many(
        self, jobs: Sequence[BatchJob], *, key: str | None = None, validate: bool = False
    ) -> list[UUID]:
        """Submit up to 1,000 jobs with one statement, all or none; return their ids. Raises as `submit`."""
        schemas: Schemas = {}
        for index, job in enumerate(jobs if validate else ()):
            at = f"$.jobs[{index}].params"
            await self._check(job["pipeline"], job.get("version"), job.get("params"), at, schemas)
        return [as_uuid(value) for value in await self._run(self._calls.submit_many(jobs, key))]

    async def _check(
        self, pipeline: str, version: int | None, params: Any, at: str, schemas: Schemas
    ) -> None:
        """Check *params*; *schemas* are those that were read for this call."""
        if (pipeline, version) not in schemas:
            schemas[pipeline, version] = (await self._run(self._calls.schema_of(pipeline, version)))[0]
        check_params(schemas[pipeline, version], pipeline, params, at)

    async def _run(self, call: SqlCall) -> list[Any]:
        try:
            return await self._fetch(call)
        except Exception as error:
            if (refusal := refusal_of(error)) is None:
                raise
            raise refusal from error

    @abstractmethod
    async def _fetch(self, call: SqlCall) -> list[Any]:
        """Run *call* and return its column."""


class AsyncpgJobs(AsyncTransactionalJobs):
    """Submits jobs in the transaction of an `asyncpg.Connection`."""

    async def _fetch(self, call: SqlCall) -> list[Any]:
        rows = await self._connection.fetch(call.with_placeholders("$#"), *call.arguments)
        return [row[0] for row in rows]


class AsyncPsycopgJobs(AsyncTransactionalJobs):
    """Submits jobs in the transaction of a `psycopg.AsyncConnection`."""

    async def _fetch(self, call: SqlCall) -> list[Any]:
        # The connection's own cursors may return rows of another shape.
        tuple_row = importlib.import_module("psycopg.rows").tuple_row
        async with self._connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(call.with_placeholders("%s"), call.arguments)
            return [row[0] for row in await cursor.fetchall()]


class AsyncSessionJobs(AsyncTransactionalJobs):
    """Submits jobs in the transaction of a SQLAlchemy `AsyncSession` or `AsyncConnection`."""

    async def _fetch(self, call: SqlCall) -> list[Any]:
        return list((await self._connection.execute(*sqlalchemy_call(call))).scalars())
