"""A feed keeps the tail of a job's events in an API process."""

from asyncio import Event
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.events.encoding import LoggedEvent
from headrace.domain.events.feed import MAX_TAIL_EVENTS, Feed

JOB = UUID(int=1)


def event(seq: int, kind: str = "log") -> LoggedEvent:
    return LoggedEvent(seq, kind, f"frame {seq}".encode())


def begun(head: int = 0) -> Feed:
    feed = Feed()
    feed.begin(head, None)
    return feed


def test_consecutive_events_are_appended_and_a_gap_is_refused() -> None:
    feed = begun()

    assert feed.append([event(1), event(2)])
    assert not feed.append([event(4)])

    assert feed.head == 2
    assert [event.seq for event in feed.after(0) or []] == [1, 2]


def test_events_that_the_feed_already_has_are_ignored() -> None:
    feed = begun()
    feed.append([event(1), event(2)])

    assert feed.append([event(1), event(2), event(3)])

    assert [event.seq for event in feed.after(0) or []] == [1, 2, 3]


def test_events_before_the_tail_are_not_available() -> None:
    feed = begun(head=7)
    feed.append([event(8)])

    assert feed.after(7) is not None
    assert feed.after(6) is None
    assert feed.after(8) == []


def test_the_tail_is_bounded() -> None:
    feed = begun()

    feed.append([event(seq) for seq in range(1, MAX_TAIL_EVENTS * 3)])

    assert feed.after(0) is None
    assert len(feed.after(feed.head - MAX_TAIL_EVENTS) or []) == MAX_TAIL_EVENTS


@given(st.lists(st.integers(1, 30), max_size=60))
def test_hints_in_any_order_leave_a_tail_without_gaps(hints: list[int]) -> None:
    feed = begun()

    for seq in hints:
        if not feed.append([event(seq)]):
            feed.append([event(missing) for missing in range(feed.head + 1, seq + 1)])

    assert [event.seq for event in feed.after(0) or []] == list(range(1, max(hints, default=0) + 1))


def test_the_newest_event_determines_the_final_state() -> None:
    feed = begun()

    feed.append([event(1, "job.failed")])
    assert feed.final_state == "failed"

    feed.append([event(2, "job.retried")])
    assert feed.final_state is None


def test_progress_of_an_earlier_attempt_or_a_lower_fraction_is_dropped() -> None:
    feed = begun()

    feed.update_progress(2, 0.5, b"half")
    feed.update_progress(1, 0.9, b"earlier attempt")
    feed.update_progress(2, 0.4, b"lower")

    assert (feed.progress, feed.progress_no) == (b"half", 1)


def test_the_progress_of_a_new_attempt_may_start_lower() -> None:
    feed = begun()
    feed.update_progress(1, 0.9, b"first attempt")

    feed.update_progress(2, 0.1, b"second attempt")

    assert feed.progress == b"second attempt"


def test_new_events_wake_every_watcher() -> None:
    feed = begun()
    watchers = [Event(), Event()]
    for watcher in watchers:
        feed.watch(watcher.set)

    feed.append([event(1)])

    assert all(watcher.is_set() for watcher in watchers)
