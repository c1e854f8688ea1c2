"""The judge of streams finds every planted fault."""

from collections.abc import Callable
from operator import attrgetter

import pytest

from faults.stream_judge import (
    KINDS,
    LATE_SECONDS,
    UNKNOWN_STATE,
    ClientConnection,
    ClientRecord,
    History,
    judge,
    table,
)

JOB = "0190a000-0000-7000-8000-000000000001"
FINISHED_AT = 1_000.0
LOG = [f'{{"seq":{seq}}}'.encode() for seq in range(1, 7)]


def connection(*numbers: int, after: int, closed_at: float, end: str | None = None) -> ClientConnection:
    events = [(number, LOG[number - 1]) for number in numbers]
    return ClientConnection(after, events, opened_at=closed_at - 10, closed_at=closed_at, end=end)


def sound() -> ClientRecord:
    """Return the record of a client that was cut off, failed once, reconnected, and received the end."""
    first = connection(1, 2, 3, after=0, closed_at=FINISHED_AT - 5)
    unanswered = ClientConnection(3, closed_at=FINISHED_AT - 4)
    last = connection(4, 5, 6, after=3, closed_at=FINISHED_AT + 1, end="succeeded")
    return ClientRecord(JOB, "socket", [first, unanswered, last])


def findings(record: ClientRecord) -> list[str]:
    return [finding.kind for finding in judge([record], {JOB: History(LOG, "succeeded", FINISHED_AT)})]


def lose_the_last(record: ClientRecord) -> None:
    record.connections[-1].events.pop()


def lose_between(record: ClientRecord) -> None:
    record.connections[-1].events.pop(0)


def lose_and_stay_away(record: ClientRecord) -> None:
    record.connections.pop()
    record.connections[0].events.pop(1)


def repeat_at_once(record: ClientRecord) -> None:
    record.connections[-1].events.append((6, LOG[5]))


def repeat_after_a_break(record: ClientRecord) -> None:
    record.connections[-1].events.insert(0, (3, LOG[2]))


def swap(record: ClientRecord) -> None:
    record.connections[-1].events[:2] = reversed(record.connections[-1].events[:2])


def take_another_body(record: ClientRecord) -> None:
    record.connections[0].events[1] = (2, b'{"seq": 2}')


def invent(record: ClientRecord) -> None:
    record.connections[-1].events.append((7, b'{"seq":7}'))


def never_end(record: ClientRecord) -> None:
    record.connections[-1].end = None


def never_come(record: ClientRecord) -> None:
    record.connections.clear()


def end_otherwise(record: ClientRecord) -> None:
    record.connections[-1].end = "failed"


def end_late(record: ClientRecord) -> None:
    record.connections[-1].closed_at = FINISHED_AT + LATE_SECONDS + 0.1


def wait_in_vain_before(record: ClientRecord) -> None:
    record.connections[0].closed_at = FINISHED_AT + LATE_SECONDS + 0.1


def say_more_after_the_end(record: ClientRecord) -> None:
    record.oddities.append("beat after the end")


PLANTED: dict[str, tuple[Callable[[ClientRecord], None], list[str]]] = {
    "a lost last event": (lose_the_last, ["gap"]),
    "a hole": (lose_between, ["gap"]),
    "a hole, and no end": (lose_and_stay_away, ["gap", "missing end"]),
    "an event twice": (repeat_at_once, ["duplicate"]),
    "what the client had": (repeat_after_a_break, ["duplicate"]),
    "a swap": (swap, ["reordering"]),
    "another body": (take_another_body, ["wrong body"]),
    "an event beyond the log": (invent, ["wrong body"]),
    "no end": (never_end, ["missing end"]),
    "nothing at all": (never_come, ["missing end"]),
    "another end": (end_otherwise, ["wrong end"]),
    "a late end": (end_late, ["late end"]),
    "a connection that was left after a long silence": (wait_in_vain_before, ["late end"]),
    "a frame after the end": (say_more_after_the_end, ["oddity"]),
}


def test_a_sound_stream_has_no_findings() -> None:
    assert findings(sound()) == []


def test_a_client_that_connects_long_after_the_end_is_not_late() -> None:
    record = sound()

    record.connections[-1].opened_at = FINISHED_AT + 999
    record.connections[-1].closed_at = FINISHED_AT + 1_000

    assert findings(record) == []


def test_an_end_may_come_without_a_state() -> None:
    record = sound()

    record.connections[-1].end = UNKNOWN_STATE

    assert findings(record) == []


@pytest.mark.parametrize(("plant", "kinds"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_fault_is_found(plant: Callable[[ClientRecord], None], kinds: list[str]) -> None:
    record = sound()

    plant(record)

    assert findings(record) == kinds


def test_every_kind_of_fault_is_planted() -> None:
    assert {kind for _, kinds in PLANTED.values() for kind in kinds} == set(KINDS)


def test_only_a_connection_that_the_server_ends_without_a_bye_is_cut() -> None:
    closed, still_open = connection(1, after=0, closed_at=FINISHED_AT), ClientConnection(0, opened_at=1.0)
    left = ClientConnection(0, opened_at=1.0, closed_at=2.0, is_abandoned=True)
    said_bye = ClientConnection(0, opened_at=1.0, closed_at=2.0, pause_seconds=0.1)
    refused = ClientConnection(0, closed_at=2.0)
    ended = connection(2, after=1, closed_at=FINISHED_AT, end="succeeded")

    record = ClientRecord(JOB, "socket", [closed, still_open, left, said_bye, refused, ended])

    assert list(map(attrgetter("is_cut"), record.connections)) == [True, False, False, False, False, False]
    assert (record.cut, record.abandoned, record.byes) == (1, 1, 1)


def test_the_table_counts_the_findings() -> None:
    record, history = sound(), History(LOG, "succeeded", FINISHED_AT)
    swap(record)

    lines = table([record], {JOB: history}, judge([record], {JOB: history})).splitlines()

    assert lines[0] == "1 jobs"
    assert lines[2].split() == ["socket", "1", "6", "1", "0", "1", "0", "1.0", "s"]
    assert "reordering: 1, wrong body: 0" in lines[-1]
