"""Registers a worker's pipelines in PostgreSQL. Plain statements, because a worker loads no ORM."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import msgspec
from uuid_utils.compat import uuid7

from headrace.domain.database import Database, Row
from headrace.domain.pipelines.definition import Pipeline
from headrace.domain.pipelines.registration import (
    PipelineChangedError,
    PipelineRefusedError,
    Registered,
    Step,
    next_step,
)
from headrace.domain.pipelines.stored_definition import StoredDefinition, earlier_definitions

CONFIRM_SECONDS: Final = 60.0
"""Workers confirm that often which definitions they serve."""

_MAX_TRIES: Final = 10
_MAX_SUPERSEDED: Final = 50

_FETCH: Final = """
SELECT name, version, updated_at, superseded,
       json_build_object('description', description, 'graph', graph, 'params_schema', params_schema,
                         'result_schema', result_schema, 'types', types, 'keep', keep)::text AS definition,
       confirmed_at > statement_timestamp() - interval '3 minutes' AND removed_at IS NULL AS is_confirmed,
       removed_at IS NULL OR EXISTS (
           SELECT 1 FROM jobs j WHERE j.pipeline = p.name AND j.version = p.version
       ) AS is_bound
FROM pipelines p WHERE name = ANY($1::text[])
"""
_INSERT: Final = """
INSERT INTO pipelines (id, name, version, description, graph, params_schema, result_schema, types, keep,
                       created_at, updated_at)
VALUES ($1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb, $7::text::jsonb, $8::text::jsonb, $9::text::jsonb,
        statement_timestamp(), statement_timestamp())
ON CONFLICT (name, version) DO NOTHING
RETURNING id
"""
_REPLACE: Final = """
UPDATE pipelines SET description = $4, graph = $5::text::jsonb, params_schema = $6::text::jsonb,
                     result_schema = $7::text::jsonb, types = $8::text::jsonb, keep = $9::text::jsonb,
                     superseded = $10::text[],
                     removed_at = NULL, confirmed_at = statement_timestamp(),
                     updated_at = statement_timestamp()
WHERE name = $1 AND version = $2 AND updated_at = $3
RETURNING id
"""
# Of many workers only some write. Rows are locked in one order, so that two workers do not deadlock.
_CONFIRM: Final = """
WITH served AS (
    SELECT p.id FROM pipelines p
    JOIN unnest($1::text[], $2::int[], $3::timestamptz[]) AS s(name, version, updated_at)
      ON s.name = p.name AND s.version = p.version AND s.updated_at = p.updated_at
    WHERE p.removed_at IS NOT NULL OR p.confirmed_at < statement_timestamp() - interval '30 seconds'
    ORDER BY p.id FOR NO KEY UPDATE OF p
)
UPDATE pipelines SET confirmed_at = statement_timestamp(), removed_at = NULL
FROM served WHERE pipelines.id = served.id
"""


class Registrar:
    """Registers the pipelines of one worker. *may_replace*: changes that break running jobs are allowed."""

    def __init__(self, database: Database, pipelines: Collection[Pipeline], *, may_replace: bool) -> None:
        self._database = database
        self._pipelines = {(pipeline.name, pipeline.version): pipeline for pipeline in pipelines}
        self._definitions: dict[tuple[str, int], StoredDefinition] = {}
        self._not_storable: list[PipelineRefusedError] = []
        for key, pipeline in self._pipelines.items():
            try:
                self._definitions[key] = StoredDefinition.of(pipeline)
            except (ValueError, msgspec.MsgspecError) as error:
                self._not_storable.append(PipelineRefusedError(*key, f"cannot be stored: {error}"))
        self._may_replace = may_replace

    async def register(self) -> list[PipelineRefusedError]:
        """Register all pipelines when a worker starts.

        Return the refusals of those that must not change or cannot be stored; `confirm` leaves those out.
        """
        refusals = await self._register(is_start=True)
        for refusal in refusals:
            del self._definitions[refusal.name, refusal.version]
        return [*self._not_storable, *refusals]

    async def confirm(self) -> int:
        """Say that the worker still serves its definitions; register those that nobody else does any more.

        Return the number of refusals: definitions that were changed in the meantime.
        """
        return len(await self._register(is_start=False))

    async def find_refusals(self) -> list[PipelineRefusedError]:
        """Return what `register` would refuse; write nothing."""
        registered = await self._fetch(self._definitions)
        refusals = list(self._not_storable)
        for key, own in self._definitions.items():
            if key in registered:
                try:
                    self._next_step(key, registered[key], own, is_start=True)
                except PipelineChangedError as refusal:
                    refusals.append(refusal)
        return refusals

    async def _register(self, *, is_start: bool) -> list[PipelineChangedError]:
        registered = await self._fetch(self._definitions)
        refusals: list[PipelineChangedError] = []
        unchanged: list[tuple[str, int, Any]] = []
        for key, own in self._definitions.items():
            row = registered.get(key)
            try:
                for _ in range(_MAX_TRIES):
                    if await self._write(key, own, row, unchanged, is_start=is_start):
                        break
                    # Another worker has written the row in between.
                    row = (await self._fetch([key])).get(key)
            except PipelineChangedError as refusal:
                refusals.append(refusal)
        if unchanged:
            await self._database.fetch(_CONFIRM, *(list(column) for column in zip(*unchanged, strict=True)))
        return refusals

    def _next_step(
        self, key: tuple[str, int], row: Registered, own: StoredDefinition, *, is_start: bool
    ) -> Step:
        return next_step(
            key,
            row,
            own,
            may_replace=self._may_replace,
            is_start=is_start,
            earlier=earlier_definitions(self._pipelines[key]),
        )

    async def _write(
        self,
        key: tuple[str, int],
        own: StoredDefinition,
        row: Registered | None,
        unchanged: list[tuple[str, int, Any]],
        *,
        is_start: bool,
    ) -> bool:
        """Insert or replace one row, if needed; return whether that is done."""
        columns = _columns(own)
        if row is None:
            return bool(await self._database.fetch(_INSERT, uuid7(), *key, *columns))
        match self._next_step(key, row, own, is_start=is_start):
            case "confirm":
                unchanged.append((*key, row.updated_at))
            case "replace":
                superseded = [digest for digest in row.superseded if digest != own.digest]
                if row.definition.digest != own.digest:
                    superseded.append(row.definition.digest)
                newest = superseded[-_MAX_SUPERSEDED:]
                return bool(await self._database.fetch(_REPLACE, *key, row.updated_at, *columns, newest))
        return True

    async def _fetch(self, keys: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Registered]:
        rows = await self._database.fetch(_FETCH, sorted({name for name, _ in keys}))
        return {(row["name"], row["version"]): _registered(row) for row in rows}


def _registered(row: Row) -> Registered:
    return Registered(
        definition=msgspec.json.decode(row["definition"], type=StoredDefinition),
        updated_at=row["updated_at"],
        superseded=list(row["superseded"]),
        is_confirmed=row["is_confirmed"],
        is_bound=row["is_bound"],
    )


def _columns(own: StoredDefinition) -> Sequence[str | None]:
    values = (own.graph, own.params_schema, own.result_schema, own.types, own.keep)
    return (
        own.description,
        *(None if value is None else msgspec.json.encode(value).decode() for value in values),
    )
