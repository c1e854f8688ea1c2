"""Pages of the event log begin and end anywhere, also within a row that holds several events."""

from uuid import UUID

import pytest

from headrace.adapters.database import StatementPool
from headrace.domain.events.encoding import EncodedEvent, encode_event
from headrace.domain.events.log import MAX_PAGE_EVENTS, PostgresEventLog
from headrace.domain.events.types import LogWritten
from support.attempts import change, queue_job, queue_of

LINES = 700
FILL = "x" * 40


def body(number: int) -> EncodedEvent:
    return encode_event(LogWritten(level="info", message=f"{number} {FILL}"))


@pytest.fixture
async def job_id(ready: StatementPool) -> UUID:
    """A job with 2 events and then 700 lines in few rows."""
    job_id = await queue_job(ready)
    worker = queue_of(ready)
    (claim,) = await worker.claim(1)
    for write_no, start in enumerate((0, 600), start=1):
        written = change(claim, write_no)
        written.events += [body(number) for number in range(start, min(start + 600, LINES))]
        await worker.write([written])
    return job_id


async def test_pages_of_any_size_hold_every_event_once_and_in_order(
    ready: StatementPool, job_id: UUID
) -> None:
    log = PostgresEventLog(ready)
    whole = await log.read_after(job_id, 0, 10_000)

    for limit in (1, 7, 100, 499, MAX_PAGE_EVENTS):
        pages = []
        after = 0
        while page := await log.read_after(job_id, after, limit):
            assert len(page) <= limit
            pages += page
            after = page[-1].seq
        assert pages == whole, limit
    assert [event.seq for event in whole] == list(range(1, len(whole) + 1))
    assert len(whole) > LINES
    rows = await ready.fetch("SELECT seq FROM job_events WHERE job_id = $1 ORDER BY seq", job_id)
    assert [row["seq"] for row in rows] == [event.seq for event in whole]


async def test_a_page_of_few_bytes_has_at_least_one_event_and_no_more_than_that_many_bytes(
    ready: StatementPool, job_id: UUID
) -> None:
    log = PostgresEventLog(ready)

    (first,) = await log.read_after(job_id, 300, 100, max_bytes=1)
    some = await log.read_after(job_id, 300, 100, max_bytes=3 * len(first.frame))

    assert (first.seq, [event.seq for event in some]) == (301, [301, 302, 303])
