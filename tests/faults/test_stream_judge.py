"""The judge of streams finds what it is there to find."""

from collections.abc import Callable

import pytest

from faults.stream_judge import KINDS, LATE_SECONDS, UNSAID, History, Stay, Told, judge, table

JOB = "0190a000-0000-7000-8000-000000000001"
FINISHED_AT = 1_000.0
LOG = [f'{{"seq":{seq}}}'.encode() for seq in range(1, 7)]


def stay(*numbers: int, after: int, over_at: float, end: str | None = None) -> Stay:
    events = [(number, LOG[number - 1]) for number in numbers]
    return Stay(after, events, opened_at=over_at - 10, over_at=over_at, end=end)


def sound() -> Told:
    """A client that was cut off once, found nobody, came back, and was told the end at once."""
    first = stay(1, 2, 3, after=0, over_at=FINISHED_AT - 5)
    nobody = Stay(3, over_at=FINISHED_AT - 4)
    last = stay(4, 5, 6, after=3, over_at=FINISHED_AT + 1, end="succeeded")
    return Told(JOB, "socket", [first, nobody, last])


def findings(told: Told) -> list[str]:
    return [found.kind for found in judge([told], {JOB: History(LOG, "succeeded", FINISHED_AT)})]


def lose_the_last(told: Told) -> None:
    told.stays[-1].events.pop()


def lose_between(told: Told) -> None:
    told.stays[-1].events.pop(0)


def lose_and_stay_away(told: Told) -> None:
    told.stays.pop()
    told.stays[0].events.pop(1)


def repeat_at_once(told: Told) -> None:
    told.stays[-1].events.append((6, LOG[5]))


def repeat_after_a_break(told: Told) -> None:
    told.stays[-1].events.insert(0, (3, LOG[2]))


def swap(told: Told) -> None:
    told.stays[-1].events[:2] = reversed(told.stays[-1].events[:2])


def take_another_body(told: Told) -> None:
    told.stays[0].events[1] = (2, b'{"seq": 2}')


def invent(told: Told) -> None:
    told.stays[-1].events.append((7, b'{"seq":7}'))


def never_end(told: Told) -> None:
    told.stays[-1].end = None


def never_come(told: Told) -> None:
    told.stays.clear()


def end_otherwise(told: Told) -> None:
    told.stays[-1].end = "failed"


def end_late(told: Told) -> None:
    told.stays[-1].over_at = FINISHED_AT + LATE_SECONDS + 0.1


def wait_in_vain_before(told: Told) -> None:
    told.stays[0].over_at = FINISHED_AT + LATE_SECONDS + 0.1


def say_more_after_the_end(told: Told) -> None:
    told.oddities.append("beat after the end")


PLANTED: dict[str, tuple[Callable[[Told], None], list[str]]] = {
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


def test_a_sound_stream_is_passed() -> None:
    assert findings(sound()) == []


def test_who_comes_long_after_the_job_is_told_the_end_in_time() -> None:
    told = sound()

    told.stays[-1].opened_at = FINISHED_AT + 999
    told.stays[-1].over_at = FINISHED_AT + 1_000

    assert findings(told) == []


def test_an_end_may_come_without_a_state() -> None:
    told = sound()

    told.stays[-1].end = UNSAID

    assert findings(told) == []


@pytest.mark.parametrize(("plant", "kinds"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_fault_is_found(plant: Callable[[Told], None], kinds: list[str]) -> None:
    told = sound()

    plant(told)

    assert findings(told) == kinds


def test_every_kind_of_fault_is_planted() -> None:
    assert {kind for _, kinds in PLANTED.values() for kind in kinds} == set(KINDS)


def test_the_table_counts_what_was_found() -> None:
    told, history = sound(), History(LOG, "succeeded", FINISHED_AT)
    swap(told)

    lines = table([told], {JOB: history}, judge([told], {JOB: history})).splitlines()

    assert lines[0] == "1 jobs"
    assert lines[2].split() == ["socket", "1", "6", "1", "0", "1", "0", "1.0", "s"]
    assert "reordering: 1, wrong body: 0" in lines[-1]
