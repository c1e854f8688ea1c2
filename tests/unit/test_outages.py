"""The log lines of an outage, and what ends it."""

import asyncio
from collections.abc import MutableMapping, Sequence
from typing import Any

from structlog.testing import capture_logs

from headrace.adapters.outages import Outage
from headrace.adapters.tasks import cancel_and_wait
from headrace.domain.conditions import Condition, Trouble
from support.patience import until

AWAY = Trouble(Condition.AWAY, "ConnectionRefusedError")
FULL = Trouble(Condition.FULL, "No space left on device")
REFUSING = Trouble(Condition.REFUSING, "password authentication failed for user app", "wrong password")


class ScriptedService:
    """An outage whose probe finds *troubles*, one after the other, with a clock of its own."""

    def __init__(self, *troubles: Trouble | None) -> None:
        self.now = 1000.0
        self.probes = 0
        self._troubles = list(troubles)
        self.outage = Outage("postgresql", self._probe, clock=lambda: self.now)

    async def _probe(self) -> Trouble | None:
        self.probes += 1
        return self._troubles.pop(0) if self._troubles else None

    async def check(self, *pauses: float) -> None:
        for pause in pauses:
            self.now += pause
            await self.outage.check()


def lines(logs: Sequence[MutableMapping[str, Any]]) -> list[tuple[object, ...]]:
    """Return event, condition and seconds of each line."""
    return [(log["event"], log.get("condition"), log.get("seconds")) for log in logs]


async def test_an_outage_has_a_line_when_it_begins_one_a_minute_and_one_when_it_is_over() -> None:
    service = ScriptedService(*[AWAY] * 299, None)

    with capture_logs() as logs:
        for _ in range(299):
            service.outage.report(AWAY)
            service.outage.report(AWAY)
            await service.check(0.5)
        await service.check(0.5)
        await service.check(0.5)

    assert lines(logs) == [
        ("outage_began", "away", None),
        ("outage_goes_on", "away", 60.0),
        ("outage_goes_on", "away", 120.0),
        ("outage_over", None, 150.0),
    ]
    assert {log["service"] for log in logs} == {"postgresql"}
    assert logs[0]["reason"] == "ConnectionRefusedError"
    assert service.outage.trouble is None


async def test_an_outage_that_no_probe_sees_is_over_after_a_minute_without_a_failed_call() -> None:
    service = ScriptedService()

    with capture_logs() as logs:
        service.outage.report(FULL)
        await service.check(30)
        service.outage.report(FULL)
        await service.check(59)
        assert service.outage.trouble == FULL
        await service.check(2)

    assert lines(logs) == [
        ("outage_began", "full", None),
        ("outage_goes_on", "full", 89.0),
        ("outage_over", None, 30.0),
    ]


async def test_an_outage_that_a_probe_has_seen_is_over_when_a_probe_succeeds() -> None:
    service = ScriptedService(REFUSING, None)

    with capture_logs() as logs:
        service.outage.report(REFUSING)
        await service.check(1, 1)

    assert lines(logs) == [("outage_began", "wrong password", None), ("outage_over", None, 2.0)]


async def test_each_condition_of_an_outage_is_named_once_a_minute() -> None:
    service = ScriptedService(*[AWAY, REFUSING] * 3, AWAY)

    with capture_logs() as logs:
        await service.check(*[1] * 6)
        await service.check(55)

    assert lines(logs) == [
        ("outage_began", "away", None),
        ("outage_changed", "wrong password", None),
        ("outage_goes_on", "away", 60.0),
    ]


async def test_a_probe_that_fails_in_an_unknown_way_is_trouble_and_does_not_end_the_watch() -> None:
    async def broken() -> Trouble | None:
        raise ZeroDivisionError

    outage = Outage("redis", broken)

    with capture_logs():
        await outage.check()

    assert outage.trouble == Trouble(Condition.REFUSING, "ZeroDivisionError()")


async def test_the_watch_probes_by_itself_and_calls_those_that_wait_for_the_end() -> None:
    service = ScriptedService(AWAY, None, AWAY, None)
    ends = []

    async def on_end() -> None:
        ends.append(service.outage.trouble)

    service.outage.on_end.append(on_end)
    watching = asyncio.create_task(service.outage.run())

    with capture_logs():
        for count in (1, 2):
            service.outage.report(AWAY)
            await until(lambda count=count: len(ends) == count)  # type: ignore[misc]
    watching.cancel()

    assert ends == [None, None]


async def test_an_outage_is_probed_as_soon_as_it_begins_so_that_the_end_of_a_short_one_is_proven() -> None:
    service = ScriptedService(REFUSING, None)
    watching = asyncio.create_task(service.outage.run())

    with capture_logs() as logs:
        service.outage.report(REFUSING)
        # The clock stands still: the outage does not end by a silence.
        await until(lambda: service.outage.trouble is None)
    await cancel_and_wait([watching])

    assert lines(logs) == [("outage_began", "wrong password", None), ("outage_over", None, 0.0)]


async def test_a_probe_counts_for_as_long_as_the_caller_says() -> None:
    service = ScriptedService(AWAY, FULL)

    with capture_logs():
        await service.outage.check(max_age=1.0)
        service.now += 0.9
        await service.outage.check(max_age=1.0)
        first = service.outage.trouble
        service.now += 0.1
        await service.outage.check(max_age=1.0)

    assert (first, service.outage.trouble) == (AWAY, FULL)


async def test_a_failure_in_a_thread_begins_an_outage() -> None:
    service = ScriptedService()

    with capture_logs() as logs:
        await asyncio.to_thread(service.outage.report_from_thread, FULL)
        await asyncio.sleep(0)

    assert lines(logs) == [("outage_began", "full", None)]


def test_an_entry_of_readiness_names_the_service_and_what_is_wrong_but_no_role() -> None:
    entries = [trouble.entry("postgresql") for trouble in (AWAY, FULL, REFUSING)]

    assert entries == ["postgresql", "postgresql: full", "postgresql: wrong password"]


async def test_a_service_that_is_suspected_is_probed_and_has_an_outage_only_if_the_probe_finds_one() -> None:
    service = ScriptedService(None, AWAY)
    task = asyncio.create_task(service.outage.run())
    with capture_logs() as logs:
        service.outage.suspect()
        await until(lambda: service.probes == 1)
        after_the_first = list(logs)
        service.now += 1
        service.outage.suspect()
        await until(lambda: service.outage.trouble is not None)
        service.now += 1
        await until(lambda: service.outage.trouble is None)
    await cancel_and_wait([task])

    assert after_the_first == []
    assert [log["event"] for log in logs] == ["outage_began", "outage_over"]
