"""One watcher's stream of all jobs of an owner: the newest 500, then every change."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from headrace.api.database_errors import DATABASE_TROUBLE
from headrace.api.live.frames import Frame, JobsBeat, bye, encode, framed, signed_out
from headrace.api.live.overviews import Overviews
from headrace.api.live.stream import SlowReaderError, Stream
from headrace.domain.jobs.overview.overview import Overview, OverviewEntry, OverviewFilter

_GROUP_ENTRIES: Final = 100
_DATABASE_RETRY_SECONDS: Final = 1.0
# Changes that come within this time share one query for their tags.
_TAG_PAUSE_SECONDS: Final = 0.25


class OverviewStream(Stream):
    """Yields job summaries that match a filter. It has no cursor: a client that reconnects starts over."""

    def __init__(self, owner_id: UUID, filters: OverviewFilter, overviews: Overviews) -> None:
        super().__init__()
        self._owner_id = owner_id
        self._filters = filters
        self._overviews = overviews

    async def frames(self) -> AsyncIterator[list[Frame]]:
        """Yield the frames in groups that are ready together, up to and with the last one.

        Raises:
            SlowReaderError: the watcher is so far behind that the overview has dropped changes it needs.
            DatabaseAwayError: PostgreSQL is away, so the stream cannot begin.
        """
        async with self._overviews.watch(self._owner_id, self._heartbeat.wake.set) as overview:
            cursor = overview.number
            newest = await self._overviews.newest(self._owner_id, self._filters)
            for summary in newest:
                overview.seed(summary)
            self._heartbeat.restart()
            while newest:
                yield self._count([Frame(encode(summary)) for summary in newest[:_GROUP_ENTRIES]])
                del newest[:_GROUP_ENTRIES]
            async for group in self._follow(overview, cursor):
                yield self._count(group)

    async def _follow(self, overview: Overview, cursor: int) -> AsyncIterator[list[Frame]]:
        while True:
            group = self._heartbeat.drain_answers()
            if overview.has_dropped_changes(cursor):
                raise SlowReaderError
            entries, next_cursor = overview.after(cursor, self._filters, _GROUP_ENTRIES)
            try:
                entries = await self._with_tag(entries)
            except DATABASE_TROUBLE:
                await asyncio.sleep(_DATABASE_RETRY_SECONDS)
                group.append(self._next_beat())
            else:
                group += [Frame(entry.frame) for entry in entries]
                cursor = next_cursor
            if self._is_signed_out or self._overviews.is_closing:
                self.end_reason = "signed_out" if self._is_signed_out else "closing"
                yield [*group, signed_out() if self._is_signed_out else bye()]
                return
            group += self._due_beats()
            if group:
                yield group
            elif cursor == overview.number:
                await self._heartbeat.wait()
                if self._filters.tag is not None:
                    await asyncio.sleep(_TAG_PAUSE_SECONDS)

    def _make_beat(self) -> Frame:
        return framed(JobsBeat(degraded=self._overviews.is_degraded))

    async def _with_tag(self, entries: list[OverviewEntry]) -> list[OverviewEntry]:
        if self._filters.tag is None or not entries:
            return entries
        job_ids = [entry.summary.job_id for entry in entries if not entry.is_deleted]
        tagged = await self._overviews.tagged(self._owner_id, self._filters.tag, job_ids)
        return [entry for entry in entries if entry.is_deleted or entry.summary.job_id in tagged]
