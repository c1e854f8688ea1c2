"""The overviews that are watched in this process: fed by one channel an owner, checked against PostgreSQL."""

import asyncio
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final
from uuid import UUID

import msgspec
import structlog

from headrace.adapters.event_bus import EventBus
from headrace.adapters.publisher import owner_channel
from headrace.api.live.shared_feeds import SharedFeeds, pause_between_checks
from headrace.domain.database import TRANSIENT
from headrace.domain.events.news import JobSummary
from headrace.domain.events.observable import Callback
from headrace.domain.jobs.overview.overview import MOST_KNOWN, Overview, OverviewFilter
from headrace.domain.jobs.overview.overview_repository import ChangePoll, OverviewRepository

_log = structlog.get_logger(__name__)

_NEWEST: Final = 500
_MOST_RUNNING: Final = MOST_KNOWN // 2
_MOST_ENDED: Final = 5_000

_decode: Final = msgspec.json.Decoder(list[JobSummary]).decode


class Overviews:
    """One overview for each owner whose jobs are watched. `run` is its task."""

    def __init__(self, bus: EventBus, repository: OverviewRepository) -> None:
        self._bus = bus
        self._repository = repository
        bus.on_reconnect.append(self._recheck_soon)
        self._shared = SharedFeeds[UUID, Overview](self._begin, self._end)
        self._looks: dict[UUID, ChangePoll] = {}
        self._recheck = asyncio.Event()
        self._database_away = False
        self.is_closing = False

    @property
    def is_degraded(self) -> bool:
        """Whether news travel slower than they should: Redis or PostgreSQL is away."""
        return self._database_away or self._bus.is_away

    def watch(self, owner_id: UUID, watcher: Callback) -> AbstractAsyncContextManager[Overview]:
        """The overview of an owner, listening before anything is read; *watcher* is called at every change.

        Raises:
            DatabaseAwayError, DatabaseBusyError: where the jobs stand cannot be found out.
        """
        return self._shared.watch(owner_id, watcher)

    async def newest(self, owner_id: UUID, wanted: OverviewFilter) -> list[JobSummary]:
        """The newest 500 of the wanted jobs."""
        return await self._repository.newest(owner_id, wanted, _NEWEST)

    async def tagged(self, owner_id: UUID, tag: str, job_ids: list[UUID]) -> set[UUID]:
        """Those of the jobs that have the tag."""
        return await self._repository.tagged(owner_id, tag, job_ids)

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await pause_between_checks(self._recheck, is_slow=self.is_degraded or not self._bus.has_redis)
            for owner_id, overview in list(self._shared.things.items()):
                await self._check(owner_id, overview)
            await self._shared.sweep()

    async def until_deserted(self) -> None:
        """Wake every watcher, and wait until all have left."""
        await self._shared.until_deserted()

    async def _begin(self, owner_id: UUID) -> Overview:
        channel = owner_channel(owner_id)
        await self._bus.subscribe(channel, partial(self._hear, owner_id))
        try:
            look = await self._look(owner_id, None, [])
        except TRANSIENT:
            await self._bus.unsubscribe(channel)
            raise
        overview = Overview()
        for summary in look.changed:
            overview.seed(summary)
        self._looks[owner_id] = look
        # What came since the query is found by the check.
        self._recheck_soon()
        return overview

    async def _end(self, owner_id: UUID) -> None:
        self._looks.pop(owner_id, None)
        await self._bus.unsubscribe(owner_channel(owner_id))

    def _hear(self, owner_id: UUID, raw: bytes) -> None:
        overview = self._shared.things.get(owner_id)
        if overview is None:
            return
        for summary in _decode(raw):
            overview.update(summary)
        overview.notify()

    def _recheck_soon(self) -> None:
        self._recheck.set()

    async def _check(self, owner_id: UUID, overview: Overview) -> None:
        """Compare with PostgreSQL, in one query for all who watch."""
        last = self._looks.get(owner_id)
        try:
            look = await self._look(owner_id, last, overview.ended(_MOST_ENDED))
        except TRANSIENT as error:
            self._database_away = True
            _log.warning("overview_not_checked", reason=error.reason)
            return
        self._database_away = False
        if self._shared.things.get(owner_id) is not overview:
            return
        self._looks[owner_id] = look
        for summary in look.changed:
            overview.update(summary)
        for job_id in look.gone:
            overview.delete(job_id)
        if look.is_cut:
            _log.warning("overview_outrun", owner_id=str(owner_id))
            overview.forget_all()
        overview.notify()

    async def _look(self, owner_id: UUID, last: ChangePoll | None, ended: list[UUID]) -> ChangePoll:
        return await self._repository.look(owner_id, last, ended, most_running=_MOST_RUNNING, most=MOST_KNOWN)
