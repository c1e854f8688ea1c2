"""When a watcher reconnects, and when it gives up."""

import pytest

from headrace_client.backoff import Backoff
from headrace_client.errors import GaveUpError, UnreachableError, WatchRefusedError
from headrace_client.frames import AnyFrame, Beat, Bye, End, JobQueued, UnknownFrame, read_frame
from headrace_client.position import GapError, Position

HEADER = b'"job_id":"01a1fcda-1222-71e3-b3dd-702451ba443d","seq":%d,"at":"2026-11-21T06:30:00Z"'
BEAT = Beat(head=1, degraded=False)


def event(number: int) -> AnyFrame:
    return read_frame(b'{"type":"job.queued",' + HEADER % number + b"}")


def new_position(*, patience: float = 60, first_patience: float | None = None) -> Position:
    longest = Backoff(lambda _, limit: limit)
    return Position(
        "http://here", "job", 0, patience=patience, first_patience=first_patience, backoff=longest
    )


def test_pauses_double_up_to_a_limit_and_start_over_after_an_event() -> None:
    position = new_position(patience=1000)
    position.advance(BEAT)

    pauses = [position.lost("gone", now) for now in range(7)]
    position.advance(event(1))

    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert position.lost("gone", 10) == 0.2


def test_a_pause_is_drawn_between_zero_and_its_limit() -> None:
    drawn: list[tuple[float, float]] = []
    backoff = Backoff(lambda low, high: drawn.append((low, high)) or 0.1)  # type: ignore[func-returns-value]

    assert [backoff.pause(), backoff.pause()] == [0.1, 0.1]
    assert drawn == [(0, 0.2), (0, 0.4)]


def test_a_hello_frame_does_not_reset_the_pauses() -> None:
    position = new_position()
    hello = UnknownFrame(kind="hello", body={})

    pauses = []
    for now in range(4):
        position.advance(hello)
        pauses.append(position.lost("gone", now))

    assert pauses == [0.2, 0.4, 0.8, 1.6]


def test_an_event_that_never_arrives_ends_the_watch() -> None:
    position = new_position()

    for _ in range(7):
        with pytest.raises(GapError):
            position.advance(event(2))
    with pytest.raises(WatchRefusedError, match="event 1 of job job never came") as refused:
        position.advance(event(2))

    assert (refused.value.code, position.cursor) == ("event_missing", 0)


def test_the_pause_of_a_bye_frame_applies_once() -> None:
    position = new_position()
    position.advance(Bye(retry_after=2.5))

    assert [position.lost("gone", 0), position.lost("gone", 3)] == [2.5, 0.2]


def test_patience_starts_over_after_a_received_frame() -> None:
    position = new_position(patience=2)
    position.advance(event(1))
    position.lost("gone", 0)
    position.advance(BEAT)
    position.lost("gone", 100)
    position.lost("gone", 101)

    with pytest.raises(GaveUpError) as given_up:
        position.lost("gone", 103)

    assert (given_up.value.after, given_up.value.seconds) == (1, 3)


def test_the_first_patience_applies_to_a_service_that_never_answered() -> None:
    position = new_position(patience=60, first_patience=2)
    position.lost("gone", 0)

    with pytest.raises(UnreachableError):
        position.lost("gone", 2)


def test_an_end_frame_ends_the_watch() -> None:
    position = new_position()

    assert position.advance(End(state="failed"))
    assert position.is_over
    assert isinstance(event(1), JobQueued)
