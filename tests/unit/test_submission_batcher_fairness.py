"""While submissions of several owners wait, a statement takes those of all owners in rounds."""

import pytest

from headrace.domain.jobs.submission.submission import Submission
from support.submission_builders import ScriptedWriter, results_of, running_batcher, store_each, submission
from support.virtual_time import in_virtual_time, until_idle

ADA, BOB, MALLORY = 1, 2, 3


async def statements_of(*waiting: Submission, under_way: int = MALLORY) -> list[list[str]]:
    """Return the statements that store *waiting*, all of which came while both lanes were busy."""
    writer = ScriptedWriter(is_open=False)
    async with running_batcher(writer) as batcher:
        tasks = []
        for name in ("lane 1", "lane 2"):
            tasks += store_each(batcher, submission(name, owner=under_way))
            await until_idle()
        tasks += store_each(batcher, *waiting)
        await until_idle()
        for _ in range(100):
            if all(task.done() for task in tasks):
                break
            writer.release()
            await until_idle()
        outcomes = await results_of(tasks)
    assert [each for each in outcomes if isinstance(each, BaseException)] == []
    return writer.statements[2:]


def batches(count: int, *, owner: int, jobs: int, prefix: str = "m") -> list[Submission]:
    return [submission(f"{prefix}{number}", jobs=jobs, owner=owner) for number in range(count)]


@pytest.mark.parametrize("jobs", [1_000, 600])
@in_virtual_time
async def test_a_job_waits_for_none_of_the_batches_that_another_user_sent_before(jobs: int) -> None:
    statements = await statements_of(
        *batches(20, owner=MALLORY, jobs=jobs), submission("a", owner=ADA), submission("b", owner=BOB)
    )

    assert statements[0][:2] == ["a", "b"]


@in_virtual_time
async def test_an_owner_gets_one_statement_of_250_jobs_at_a_time_while_others_submit() -> None:
    statements = await statements_of(
        *batches(30, owner=MALLORY, jobs=100), *batches(3, owner=ADA, jobs=100, prefix="a")
    )

    assert statements[:5] == [["a0", "a1"], ["m0", "m1"], ["a2"], ["m2", "m3"], ["m4", "m5"]]


@in_virtual_time
async def test_an_owner_who_is_alone_gets_whole_statements() -> None:
    statements = await statements_of(*batches(30, owner=MALLORY, jobs=100))

    assert statements == [[f"m{10 * place + number}" for number in range(10)] for place in range(3)]


@in_virtual_time
async def test_small_submissions_of_an_owner_do_not_pass_the_large_one_for_ever() -> None:
    small = batches(40, owner=BOB, jobs=200, prefix="b")
    statements = await statements_of(
        submission("a", owner=ADA),
        *small,
        submission("large", jobs=1_000, owner=ADA),
        *batches(40, owner=ADA, jobs=1, prefix="a"),
    )

    large = next(place for place, names in enumerate(statements) if "large" in names)
    assert statements[0] == ["a", "b0"]
    assert large <= 3


@in_virtual_time
async def test_a_large_submission_is_stored_although_new_owners_come_all_the_time() -> None:
    statements = await statements_of(
        submission("large", jobs=1_000, owner=ADA),
        *(submission(f"of {owner}", jobs=400, owner=owner) for owner in range(10, 30)),
    )

    assert statements[0] == ["large"]
    assert statements[1] == ["of 10", "of 11"]


@in_virtual_time
async def test_owners_who_were_left_out_of_a_statement_come_first_in_the_next_one() -> None:
    owners = range(10, 16)
    statements = await statements_of(
        *(submission(f"{owner}.{number}", jobs=240, owner=owner) for owner in owners for number in range(2))
    )

    assert statements == [
        ["10.0", "11.0", "12.0", "13.0"],
        ["14.0", "15.0"],
        ["10.1", "11.1", "12.1", "13.1"],
        ["14.1", "15.1"],
    ]
