"""The overviews watched in this process, fed by one channel per owner and checked against PostgreSQL."""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from headrace.adapters.event_bus import EventBus
from headrace.adapters.listeners import owner_channel
from headrace.adapters.messages import Message, SummariesMessage
from headrace.api.database_errors import DATABASE_TROUBLE
from headrace.api.live.shared_feeds import SharedFeeds, pause_between_checks
from headrace.domain.database import is_outage
from headrace.domain.events.news import JobSummary
from headrace.domain.events.observable import Callback
from headrace.domain.jobs.overview.overview import MAX_JOBS, Overview, OverviewFilter
from headrace.domain.jobs.overview.overview_repository import ChangePoll, OverviewRepository

_log = structlog.get_logger(__name__)

_MAX_NEWEST: Final = 500
_MAX_RUNNING: Final = MAX_JOBS // 2
_MAX_ENDED: Final = 5_000

# A message takes a moment from its statement to here. An older one is a repetition: the polls know better.
_MAX_AGE: Final = timedelta(seconds=60)


class Overviews:
    """One overview per owner whose jobs are watched. `run` is its task."""

    def __init__(self, bus: EventBus, repository: OverviewRepository) -> None:
        self._bus = bus
        self._repository = repository
        bus.on_missed.append(self._recheck_soon)
        self._shared = SharedFeeds[UUID, Overview](self._open_overview, self._close_overview)
        self._last_polls: dict[UUID, ChangePoll] = {}
        self._recheck = asyncio.Event()
        self._is_database_away = False
        self.is_closing = False

    @property
    def is_degraded(self) -> bool:
        """Whether changes may be late: Redis or PostgreSQL is away, or messages are refused."""
        return self._is_database_away or self._bus.is_late

    def watch(self, owner_id: UUID, on_change: Callback) -> AbstractAsyncContextManager[Overview]:
        """Hold the owner's overview open for the block; *on_change* is called at each of its changes.

        The overview is subscribed to Redis before this reads PostgreSQL.

        Raises:
            DatabaseAwayError, DatabaseBusyError: the owner's jobs cannot be read.
        """
        return self._shared.watch(owner_id, on_change)

    async def newest(self, owner_id: UUID, filters: OverviewFilter) -> list[JobSummary]:
        """Return the newest 500 jobs that match."""
        return await self._repository.fetch_newest(owner_id, filters, _MAX_NEWEST)

    async def tagged(self, owner_id: UUID, tag: str, job_ids: list[UUID]) -> set[UUID]:
        """Return those of the jobs that have the tag."""
        return await self._repository.fetch_tagged(owner_id, tag, job_ids)

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await pause_between_checks(self._recheck, is_degraded=self.is_degraded or not self._bus.has_redis)
            for owner_id, overview in list(self._shared.feeds.items()):
                await self._check(owner_id, overview)
            await self._shared.sweep()

    async def drain(self) -> None:
        """Wake every watcher, and wait until all have left."""
        await self._shared.drain()

    async def _open_overview(self, owner_id: UUID) -> Overview:
        channel = owner_channel(owner_id)
        await self._bus.subscribe(channel, partial(self._on_message, owner_id))
        try:
            poll = await self._poll(owner_id, None, [])
        except BaseException:
            self._bus.unsubscribe(channel)
            raise
        overview = Overview()
        for summary in poll.changed:
            overview.seed(summary)
        self._last_polls[owner_id] = poll
        # Changes since the query are missing from the overview; the check finds them.
        self._recheck_soon()
        return overview

    async def _close_overview(self, owner_id: UUID) -> None:
        self._last_polls.pop(owner_id, None)
        self._bus.unsubscribe(owner_channel(owner_id))

    def _on_message(self, owner_id: UUID, message: Message) -> None:
        overview, last_poll = self._shared.feeds.get(owner_id), self._last_polls.get(owner_id)
        if overview is None or last_poll is None or not isinstance(message, SummariesMessage):
            return
        if message.at < last_poll.at - _MAX_AGE:
            return
        for summary in message.summaries:
            overview.update(summary)
        overview.notify()

    def _recheck_soon(self) -> None:
        self._recheck.set()

    async def _check(self, owner_id: UUID, overview: Overview) -> None:
        """Apply the changes since the last poll, in one query for all watchers of the owner."""
        last_poll = self._last_polls.get(owner_id)
        try:
            poll = await self._poll(owner_id, last_poll, overview.final_jobs(_MAX_ENDED))
        except DATABASE_TROUBLE as error:
            self._is_database_away = True
            if not is_outage(error):
                _log.warning("overview_not_checked", reason=repr(error))
            return
        self._is_database_away = False
        if self._shared.feeds.get(owner_id) is not overview:
            return
        self._last_polls[owner_id] = poll
        for summary in poll.changed:
            overview.update(summary)
        for job_id in poll.gone:
            overview.delete(job_id)
        if poll.is_cut:
            _log.warning("overview_outrun", owner_id=str(owner_id))
            overview.invalidate()
        overview.notify()

    async def _poll(self, owner_id: UUID, last_poll: ChangePoll | None, ended: list[UUID]) -> ChangePoll:
        return await self._repository.poll(
            owner_id, last_poll, ended, max_running=_MAX_RUNNING, max_changes=MAX_JOBS
        )
