"""Queries about registered pipelines."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Interval, Select, bindparam, select, text

from headrace.domain.base import Session
from headrace.domain.pipelines.catalogue import MAX_NAMES
from headrace.domain.pipelines.models import PipelineVersion
from headrace.domain.pipelines.versions import version_key
from headrace.domain.workers.directory import ALIVE_WITHIN

_SERVER: Final = text("""
SELECT id FROM workers
WHERE last_seen_at > statement_timestamp() - :alive_within AND :key = ANY(pipelines) ORDER BY id LIMIT 1
""").bindparams(bindparam("alive_within", type_=Interval))

# Two conditions, so that each can use the index of its state.
_HAS_UNFINISHED_JOBS: Final = text("""
SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'queued' AND pipeline = :name AND version = :version)
    OR EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND pipeline = :name AND version = :version)
""")


class PipelineRepository:
    """Pipelines belong to all users, so these queries carry no reach."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def fetch_newest(self) -> Sequence[PipelineVersion]:
        """Fetch the newest version of each pipeline, in the order of their names."""
        return (await self._session.execute(select_newest())).scalars().all()

    async def fetch_names(self) -> Sequence[str]:
        """Fetch the names of pipelines to compare a misspelt one with, at most `MAX_NAMES`."""
        statement = select(PipelineVersion.name).where(PipelineVersion.removed_at.is_(None)).distinct()
        return (await self._session.execute(statement.limit(MAX_NAMES))).scalars().all()

    async def fetch(
        self, name: str, version: int | None = None, *, with_removed: bool = False
    ) -> PipelineVersion | None:
        """Fetch one version of a pipeline, by default its newest. Jobs of the past have removed ones."""
        statement = select(PipelineVersion).where(PipelineVersion.name == name)
        if not with_removed:
            statement = statement.where(PipelineVersion.removed_at.is_(None))
        if version is not None:
            statement = statement.where(PipelineVersion.version == version)
        statement = statement.order_by(PipelineVersion.version.desc()).limit(1)
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def fetch_locked(self, name: str, version: int | None) -> Sequence[PipelineVersion]:
        """Fetch and lock all versions of a pipeline that are not removed, or one of them."""
        statement = select(PipelineVersion).where(
            PipelineVersion.name == name, PipelineVersion.removed_at.is_(None)
        )
        if version is not None:
            statement = statement.where(PipelineVersion.version == version)
        statement = statement.order_by(PipelineVersion.id).with_for_update(of=PipelineVersion)
        return (await self._session.execute(statement)).scalars().all()

    async def find_server(self, pipeline: PipelineVersion) -> str | None:
        """Return the id of a live worker that serves this version."""
        values = {"key": version_key(pipeline.name, pipeline.version), "alive_within": ALIVE_WITHIN}
        worker: str | None = (await self._session.execute(_SERVER, values)).scalar_one_or_none()
        return worker

    async def has_unfinished_jobs(self, pipeline: PipelineVersion) -> bool:
        """Whether a job of this version has not ended."""
        values = {"name": pipeline.name, "version": pipeline.version}
        return bool((await self._session.execute(_HAS_UNFINISHED_JOBS, values)).scalar_one())


def select_newest() -> Select[tuple[PipelineVersion]]:
    """Select the newest version of each pipeline that is not removed, in the order of their names."""
    return (
        select(PipelineVersion)
        .where(PipelineVersion.removed_at.is_(None))
        .distinct(PipelineVersion.name)
        .order_by(PipelineVersion.name, PipelineVersion.version.desc())
    )
