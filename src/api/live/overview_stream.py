"""One watcher of all jobs of its owner: the newest 500, then every change, each job in order of its head."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Literal
from uuid import UUID

from headrace.api.live.direct_writer import DirectWriter
from headrace.api.live.frames import Frame, JobsBeat, bye, encode, framed, signed_out
from headrace.api.live.heartbeat import Heartbeat
from headrace.api.live.overviews import Overviews
from headrace.api.live.socket_transport import SlowReaderError
from headrace.domain.database import TRANSIENT
from headrace.domain.jobs.overview.overview import Overview, OverviewEntry, OverviewFilter

_GROUP: Final = 100
_AWAY_PAUSE_SECONDS: Final = 1.0
# Which jobs have a tag is asked for once for what gathered meanwhile.
_TAG_PAUSE_SECONDS: Final = 0.25


class OverviewSession:
    """There is no log and no cursor: who comes back begins anew."""

    def __init__(self, owner_id: UUID, wanted: OverviewFilter, overviews: Overviews) -> None:
        self._owner_id = owner_id
        self._wanted = wanted
        self._overviews = overviews
        self._pulse = Heartbeat(lambda: framed(JobsBeat(degraded=overviews.is_degraded)))
        self.frames_sent = 0
        self.direct_writer: DirectWriter | None = None
        self.end: Literal["closing", "signed_out"] | None = None
        self._is_signed_out = False

    def sign_out(self) -> None:
        """The watcher may not watch any more."""
        self._is_signed_out = True
        self._pulse.wake.set()

    def answer(self, frame: Frame) -> None:
        """Send *frame* between the others."""
        self._pulse.answer(frame)

    async def frames(self) -> AsyncIterator[list[Frame]]:
        """The frames, in groups that are ready together.

        Raises:
            SlowReaderError: the watcher is so far behind that not all of its changes are known any more.
            DatabaseAwayError: the stream could not begin.
        """
        async with self._overviews.watch(self._owner_id, self._pulse.wake.set) as overview:
            cursor = overview.number
            newest = await self._overviews.newest(self._owner_id, self._wanted)
            for summary in newest:
                overview.seed(summary)
            self._pulse.begin()
            while newest:
                yield self._count([Frame(encode(summary)) for summary in newest[:_GROUP]])
                del newest[:_GROUP]
            async for group in self._follow(overview, cursor):
                yield self._count(group)

    async def _follow(self, overview: Overview, cursor: int) -> AsyncIterator[list[Frame]]:
        while True:
            group = self._pulse.take_answers()
            if overview.has_forgotten(cursor):
                raise SlowReaderError
            changed, reached = overview.after(cursor, self._wanted, _GROUP)
            try:
                changed = await self._with_tag(changed)
            except TRANSIENT:
                await asyncio.sleep(_AWAY_PAUSE_SECONDS)
                group.append(self._pulse.beat())
            else:
                group += [Frame(known.frame) for known in changed]
                cursor = reached
            if self._is_signed_out or self._overviews.is_closing:
                self.end = "signed_out" if self._is_signed_out else "closing"
                yield [*group, signed_out() if self._is_signed_out else bye()]
                return
            group += self._pulse.due_beat()
            if group:
                yield group
            elif cursor == overview.number:
                await self._pulse.woken()
                if self._wanted.tag is not None:
                    await asyncio.sleep(_TAG_PAUSE_SECONDS)

    async def _with_tag(self, changed: list[OverviewEntry]) -> list[OverviewEntry]:
        if self._wanted.tag is None or not changed:
            return changed
        asked = [known.summary.job_id for known in changed if not known.is_deleted]
        tagged = await self._overviews.tagged(self._owner_id, self._wanted.tag, asked)
        return [known for known in changed if known.is_deleted or known.summary.job_id in tagged]

    def _count(self, group: list[Frame]) -> list[Frame]:
        self.frames_sent += len(group)
        return group
