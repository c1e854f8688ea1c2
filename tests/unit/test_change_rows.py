"""Events keep their number, type and bytes in the rows of the event log."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.events.change_rows import MAX_ROW_CHARS, events_of, rows_of
from headrace.domain.events.encoding import EncodedEvent

EVENTS = st.lists(
    st.builds(
        EncodedEvent,
        type=st.sampled_from(["log", "step.started", "job.succeeded"]),
        body=st.sampled_from(
            ["{}", '{"n":1.50}', '{"text":"\\u0000 ü,]"}', '{"fill":"' + 9_000 * "x" + '"}']
        ),
    )
)


def stored(events: list[EncodedEvent]) -> list[dict[str, Any]]:
    return [
        {"position": row.position, "type": row.type, "body": row.body, "earlier": row.earlier}
        for row in rows_of(events)
    ]


@given(EVENTS)
def test_events_come_back_as_they_were_written(events: list[EncodedEvent]) -> None:
    rows = stored(events)

    assert [event for row in rows for event in events_of(row)] == events


@given(EVENTS)
def test_the_position_of_a_row_is_that_of_its_last_event(events: list[EncodedEvent]) -> None:
    rows = stored(events)

    for row in rows:
        assert events[row["position"] - 1] == EncodedEvent(row["type"], row["body"])


def test_a_row_takes_small_events_and_ends_with_the_event_that_makes_it_large() -> None:
    small, large = EncodedEvent("log", "{}"), EncodedEvent("log", '{"m":"' + MAX_ROW_CHARS * "x" + '"}')

    rows = stored([small] * 500 + [large, small, small, large, large, small])

    assert [row["position"] for row in rows] == [501, 504, 505, 506]


def test_a_change_without_events_has_no_row() -> None:
    assert stored([]) == []
