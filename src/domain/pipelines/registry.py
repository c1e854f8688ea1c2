"""Registers a worker's pipelines in PostgreSQL. Plain statements, because a worker loads no ORM."""

from typing import Any, Final

import msgspec
from uuid_utils.compat import uuid7

from headrace.domain.database import Database
from headrace.domain.errors import HeadraceError
from headrace.domain.pipelines.definition import Pipeline

_INSERT: Final = """
INSERT INTO pipelines (id, name, version, description, graph, params_schema, result_schema, created_at,
                       updated_at)
VALUES ($1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb, $7::text::jsonb, statement_timestamp(),
        statement_timestamp())
ON CONFLICT (name, version) DO NOTHING
RETURNING id
"""
_IS_SAME: Final = """
SELECT description = $3 AND graph = $4::text::jsonb AND params_schema = $5::text::jsonb
       AND result_schema IS NOT DISTINCT FROM $6::text::jsonb AS is_same
FROM pipelines WHERE name = $1 AND version = $2
"""
_REPLACE: Final = """
UPDATE pipelines SET description = $3, graph = $4::text::jsonb, params_schema = $5::text::jsonb,
                     result_schema = $6::text::jsonb, updated_at = statement_timestamp()
WHERE name = $1 AND version = $2
"""


class PipelineChangedError(HeadraceError):
    """A registered version has another graph or schema. Replacing it would change jobs that use it."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(
            f"pipeline {name!r} version {version} is registered with another graph; raise its version"
        )


async def register(database: Database, pipeline: Pipeline, *, may_replace: bool) -> None:
    """Register a pipeline. *may_replace*: a registered version may change its graph and schemas.

    Raises:
        PipelineChangedError: the version is registered with another graph or schema, and must not change.
    """
    key = (pipeline.name, pipeline.version)
    result = pipeline.result_schema()
    columns = (
        pipeline.description,
        _json(pipeline.graph()),
        _json(pipeline.params_schema()),
        None if result is None else _json(result),
    )
    if await database.fetch(_INSERT, uuid7(), *key, *columns):
        return
    if (await database.fetch(_IS_SAME, *key, *columns))[0]["is_same"]:
        return
    if not may_replace:
        raise PipelineChangedError(*key)
    await database.fetch(_REPLACE, *key, *columns)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
