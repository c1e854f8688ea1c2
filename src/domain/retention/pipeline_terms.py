"""Reads what each pipeline version keeps by itself."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec
from msgspec import Struct

from headrace.domain.database import Database
from headrace.domain.retention.terms import EndState, read_pipeline_terms

_FETCH: Final = "SELECT name, version, keep::text AS keep FROM pipelines ORDER BY name, version"


class PipelineTerms(Struct, frozen=True):
    """The terms of one version, by the state in which its jobs have ended; None if it has none of its own."""

    pipeline: str
    version: int
    own: dict[EndState, timedelta] | None


async def fetch_pipeline_terms(database: Database) -> Sequence[PipelineTerms]:
    """Return the terms of all versions, in the order of their names."""
    return [
        PipelineTerms(
            row["name"],
            row["version"],
            None if row["keep"] is None else read_pipeline_terms(msgspec.json.decode(row["keep"])),
        )
        for row in await database.fetch(_FETCH)
    ]
