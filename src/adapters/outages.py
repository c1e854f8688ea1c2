"""Follows the outages of the services that a process needs: one line when each begins, lasts and ends."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from msgspec import Struct

from headrace.domain.conditions import Condition, ServiceName, Trouble

_log = structlog.get_logger(__name__)

_PROBE_PERIOD_SECONDS: Final = 0.5
_MAX_PROBE_SECONDS: Final = 3.0
_LINE_SECONDS: Final = 60.0
# A probe that succeeds proves the end of these. It may miss others, such as a right to one table, or a disk
# that is too full only for larger writes: these end once no call has failed for a while.
_SEEN_BY_PROBES: Final = (Condition.AWAY, Condition.READ_ONLY, Condition.OUT_OF_CONNECTIONS)
_QUIET_SECONDS: Final = 60.0

Probe = Callable[[], Awaitable[Trouble | None]]
OnEnd = Callable[[], Awaitable[None]]


class Outage:
    """The outage of one service, as this process sees it. `run` is its only task; build it in the event loop.

    Calls that fail are reported; calls that succeed cost nothing. The service is probed when an outage
    begins, and then twice a second, so that the end is noticed also while nobody else calls it.
    """

    def __init__(
        self, service: ServiceName, probe: Probe, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """*probe* makes a new connection, and returns what is wrong with the service."""
        self.service = service
        self.on_end: list[OnEnd] = []
        self._probe = probe
        self._clock = clock
        self._trouble: Trouble | None = None
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._began_at = self._failed_at = self._logged_at = 0.0
        self._probed_at = float("-inf")
        self._is_seen_by_probe = False
        self._named: set[str] = set()

    @property
    def trouble(self) -> Trouble | None:
        """The newest failure of an outage that lasts; None if there is none."""
        return self._trouble

    def report(self, trouble: Trouble) -> None:
        """Record a failed call of the service. The first one begins the outage."""
        now = self._failed_at = self._clock()
        if self._trouble is None:
            self._began_at = self._logged_at = now
            self._is_seen_by_probe = False
            self._named = set()
            self._log("outage_began", trouble)
        elif trouble.condition not in self._named:
            self._log("outage_changed", trouble)
        self._trouble = trouble
        self._wake.set()

    def report_probe(self, trouble: Trouble) -> None:
        """Record what a probe found: the outage ends with the first one that succeeds."""
        self.report(trouble)
        self._is_seen_by_probe = True

    def suspect(self) -> None:
        """Have the service probed: calls of it do not end, which need not be its fault."""
        self._wake.set()

    def report_from_thread(self, trouble: Trouble) -> None:
        """Call `report` in the event loop, unless that has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.report, trouble)

    async def run(self) -> None:
        """Follow each outage to its end, until cancelled."""
        while True:
            await self._wake.wait()
            if self._trouble is None:
                await self.check(max_age=_PROBE_PERIOD_SECONDS)
            else:
                await self._confirm()
            while self._trouble is not None:
                await asyncio.sleep(_PROBE_PERIOD_SECONDS)
                await self.check()
            self._wake.clear()

    async def check(self, *, max_age: float = 0.0) -> None:
        """Probe the service once, and log how the outage goes on if that is due.

        A probe that began less than *max_age* seconds ago counts as well.
        """
        if self._clock() - self._probed_at < max_age:
            return
        self._probed_at = self._clock()
        if (found := await self._find_trouble()) is not None:
            self.report_probe(found)
        elif self._trouble is not None:
            await self._end_if_over(self._trouble)
        if self._trouble is not None and self._clock() - self._logged_at >= _LINE_SECONDS:
            self._logged_at = self._clock()
            self._named = set()
            self._log("outage_goes_on", self._trouble, seconds=round(self._clock() - self._began_at, 1))

    async def _confirm(self) -> None:
        """Probe the service as soon as an outage begins: a probe only proves the end of what one has seen."""
        if (found := await self._find_trouble()) is not None:
            self.report_probe(found)

    async def _find_trouble(self) -> Trouble | None:
        try:
            async with asyncio.timeout(_MAX_PROBE_SECONDS):
                return await self._probe()
        except TimeoutError:
            return Trouble(Condition.SLOW, f"no answer to a probe within {_MAX_PROBE_SECONDS:g} s")
        except Exception as error:  # noqa: BLE001  (an error that no probe expects is trouble, and must not end the watch)
            return Trouble(Condition.REFUSING, repr(error))

    async def _end_if_over(self, trouble: Trouble) -> None:
        """End the outage after a probe that succeeded, if that or a long silence proves the end."""
        now = self._clock()
        is_proven = self._is_seen_by_probe or trouble.condition in _SEEN_BY_PROBES
        if not is_proven and now - self._failed_at < _QUIET_SECONDS:
            return
        seconds = (now if is_proven else self._failed_at) - self._began_at
        _log.warning("outage_over", service=self.service, seconds=round(seconds, 1))
        self._trouble = None
        for on_end in self.on_end:
            await on_end()

    def _log(self, event: str, trouble: Trouble, **fields: float) -> None:
        self._named.add(trouble.condition)
        _log.warning(
            event,
            service=self.service,
            condition=trouble.cause or str(trouble.condition),
            reason=trouble.reason[:200],
            **fields,
        )


class Outages(Struct, frozen=True):
    """The outages of all services of this process."""

    postgresql: Outage
    redis: Outage
    storage: Outage

    async def run(self) -> None:
        """Follow all of them, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for outage in (self.postgresql, self.redis, self.storage):
                tasks.create_task(outage.run())
