"""How many waiting changes are written together."""

from uuid import UUID

from headrace.adapters.pending_changes import PendingChanges
from headrace.domain.events.encoding import EncodedEvent
from headrace.domain.jobs.attempts.changes import Change


def change(number: int, size: int = 2) -> Change:
    body = f'"{"x" * (size - 2)}"'
    return Change(job_id=UUID(int=number), owner_id=UUID(int=0), fence=1, events=[EncodedEvent("log", body)])


def batches_of(*changes: Change) -> list[list[int]]:
    pending = PendingChanges()
    for each in changes:
        pending.add(each)
    batches = []
    while batch := pending.take_batch():
        batches.append([each.change.job_id.int for each in batch])
        pending.land(batch)
    return batches


def test_small_changes_are_written_together_up_to_a_count() -> None:
    sizes = [len(batch) for batch in batches_of(*map(change, range(250)))]

    assert sizes == [100, 100, 50]


def test_large_changes_are_written_together_up_to_a_size() -> None:
    megabytes = [change(1, 1_500_000), change(2, 1_500_000), change(3, 1_500_000), change(4, 9_000_000)]

    assert batches_of(*megabytes, change(5)) == [[1, 2], [3], [4], [5]]
