"""The overview of an owner's jobs in an API process."""

from typing import Any
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.events.news import JobSummary
from headrace.domain.jobs.overview.overview import Overview, OverviewFilter
from headrace.domain.jobs.states import JobState

ANY = OverviewFilter()


def job(number: int, head: int, state: str = "running", progress: float = 0.0) -> JobSummary:
    return JobSummary(job_id=UUID(int=number), head=head, state=state, progress=progress, pipeline="noop")


def frames_after(
    overview: Overview, cursor: int = 0, filters: OverviewFilter = ANY, limit: int = 1000
) -> list[Any]:
    changed, _ = overview.after(cursor, filters, limit)
    return [msgspec.json.decode(entry.frame) for entry in changed]


def heads(frames: list[Any]) -> list[tuple[int, int]]:
    return [(UUID(frame["job_id"]).int, frame["head"]) for frame in frames]


def test_a_job_with_many_changes_is_sent_once_in_its_newest_state() -> None:
    overview = Overview()

    for head in (1, 2, 3):
        overview.update(job(1, head))
    overview.update(job(2, 1))

    assert heads(frames_after(overview)) == [(1, 3), (2, 1)]


def test_outdated_summaries_are_ignored() -> None:
    overview = Overview()
    overview.update(job(1, 5, progress=0.5))

    assert not overview.update(job(1, 4))
    assert not overview.update(job(1, 5, progress=0.4))
    assert overview.update(job(1, 5, progress=0.6))

    assert [frame["progress"] for frame in frames_after(overview)] == [0.6]


def test_a_seeded_job_is_sent_only_after_it_changes() -> None:
    overview = Overview()
    overview.seed(job(1, 3))
    overview.seed(job(1, 3))

    assert frames_after(overview) == []

    overview.seed(job(1, 4))
    assert heads(frames_after(overview)) == [(1, 4)]


def test_a_job_that_leaves_a_filter_is_sent_once_more() -> None:
    overview = Overview()
    filters = OverviewFilter(state=JobState.RUNNING)
    overview.update(job(1, 2, "running"))
    cursor = overview.number

    overview.update(job(1, 3, "succeeded"))
    left = frames_after(overview, cursor, filters)
    overview.delete(UUID(int=1))

    assert [frame["state"] for frame in left] == ["succeeded"]
    assert frames_after(overview, cursor + 1, filters) == []


def test_a_job_that_enters_and_leaves_a_filter_between_two_reads_is_sent_once() -> None:
    overview = Overview()
    overview.update(job(1, 1, "queued"))
    cursor = overview.number

    overview.update(job(1, 2, "running"))
    overview.update(job(1, 3, "queued"))

    assert [
        frame["state"] for frame in frames_after(overview, cursor, OverviewFilter(state=JobState.RUNNING))
    ] == ["queued"]


def test_a_new_job_is_sent_if_it_may_have_matched_the_filter_before() -> None:
    overview = Overview()

    overview.update(job(1, 9, "failed"))

    assert frames_after(overview, 0, OverviewFilter(state=JobState.QUEUED)) != []
    assert frames_after(overview, 0, OverviewFilter(state=JobState.SUCCEEDED)) == []


def test_jobs_of_other_pipelines_are_left_out() -> None:
    overview = Overview()
    overview.update(job(1, 1))

    assert frames_after(overview, 0, OverviewFilter(pipeline="shootout")) == []
    assert frames_after(overview, 0, OverviewFilter(pipeline="noop")) != []


def test_a_deleted_job_is_sent_once_and_stays_deleted() -> None:
    overview = Overview()
    overview.seed(job(1, 3, "succeeded"))
    assert overview.final_jobs(10) == [UUID(int=1)]

    overview.delete(UUID(int=1))
    overview.delete(UUID(int=1))
    overview.update(job(1, 4, "queued"))

    assert frames_after(overview) == [{"type": "job.deleted", "job_id": str(UUID(int=1))}]
    assert overview.final_jobs(10) == []


def test_the_overview_is_bounded_and_reports_dropped_changes() -> None:
    overview = Overview(max_jobs=10)
    for number in range(25):
        overview.update(job(number, 1))

    assert overview.has_dropped_changes(14)
    assert not overview.has_dropped_changes(15)
    assert len(frames_after(overview, 15)) == 10


def test_an_invalidated_overview_reports_dropped_changes() -> None:
    overview = Overview()
    overview.update(job(1, 1))

    overview.invalidate()

    assert overview.has_dropped_changes(overview.number - 1)
    assert not overview.has_dropped_changes(overview.number)


HINTS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6)), max_size=60)
STATES = ["queued", "running", "queued", "running", "failed", "queued", "running"]


@given(HINTS, st.lists(st.integers(1, 5), min_size=1, max_size=60), st.sampled_from([None, *JobState]))
def test_hints_in_any_order_converge_for_every_watcher(
    hints: list[tuple[int, int]], limits: list[int], state: JobState | None
) -> None:
    overview = Overview()
    filters = OverviewFilter(state=state)
    seen: list[Any] = []
    cursor = 0

    for place, (number, head) in enumerate(hints):
        overview.update(job(number, head, STATES[head]))
        if place % 3 == 0:
            changed, cursor = overview.after(cursor, filters, limits[place % len(limits)])
            seen += [msgspec.json.decode(entry.frame) for entry in changed]
    seen += frames_after(overview, cursor, filters)

    shown = {UUID(frame["job_id"]).int: (frame["head"], frame["state"]) for frame in seen}
    truth = {number: max(head for n, head in hints if n == number) for number, _ in hints}
    matching = {
        number: (head, STATES[head])
        for number, head in truth.items()
        if state is None or STATES[head] == state
    }
    assert matching.items() <= shown.items()
    for number in {number for number, _ in hints}:
        mine = [frame["head"] for frame in seen if UUID(frame["job_id"]).int == number]
        assert mine == sorted(set(mine))
        # A client that drops jobs outside the filter shows only matching jobs.
        last_shown = shown.get(number)
        assert last_shown is None or last_shown[1] != state or last_shown[0] == truth[number]
