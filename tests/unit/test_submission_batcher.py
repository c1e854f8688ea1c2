"""Submissions of concurrent callers are stored in batches."""

import asyncio

import pytest

from headrace.adapters.submission_batcher import SubmissionBatcher
from headrace.adapters.tasks import cancel_and_wait
from headrace.domain.database import DatabaseAwayError
from headrace.domain.jobs.submission.submission import StoreResult
from support.submission_builders import (
    AT,
    ScriptedWriter,
    named,
    results_of,
    running_batcher,
    store_each,
    stored_as,
    submission,
)
from support.virtual_time import in_virtual_time, running_loop, until_idle


@in_virtual_time
async def test_a_single_submission_is_stored_at_once() -> None:
    writer = ScriptedWriter()
    async with running_batcher(writer) as batcher:
        stored = await batcher.store(submission("a"))

    assert stored == StoreResult("stored", AT, "a")
    assert writer.statements == [["a"]]
    assert running_loop().passed == 0


@in_virtual_time
async def test_submissions_in_one_loop_turn_share_a_statement_and_get_their_own_results() -> None:
    writer = ScriptedWriter()
    async with running_batcher(writer) as batcher:
        outcomes = await results_of(store_each(batcher, *named("a", "b", "c")))

    assert outcomes == stored_as("a", "b", "c")
    assert writer.statements == [["a", "b", "c"]]


@in_virtual_time
async def test_early_submissions_are_stored_once_the_batcher_runs() -> None:
    writer = ScriptedWriter()
    batcher = SubmissionBatcher(writer)
    early = store_each(batcher, *named("a", "b"))
    await until_idle()
    before = list(writer.statements)

    task = asyncio.create_task(batcher.run())

    assert await results_of(early) == stored_as("a", "b")
    assert (before, writer.statements) == ([], [["a", "b"]])
    await cancel_and_wait([task])


@in_virtual_time
async def test_at_most_two_statements_run_and_later_submissions_form_the_next_one() -> None:
    writer = ScriptedWriter(is_open=False)
    async with running_batcher(writer) as batcher:
        waiting = []
        for name in "abcde":
            waiting += store_each(batcher, submission(name))
            await until_idle()
        while_two_are_under_way = list(writer.statements)
        writer.release(1)
        await until_idle()
        after_one_has_ended = list(writer.statements)
        writer.open()

        assert await results_of(waiting) == stored_as("a", "b", "c", "d", "e")
    assert while_two_are_under_way == [["a"], ["b"]]
    assert after_one_has_ended == [["a"], ["b"], ["c", "d", "e"]]


@in_virtual_time
async def test_a_result_does_not_wait_for_the_other_statement() -> None:
    writer = ScriptedWriter(is_open=False)
    async with running_batcher(writer) as batcher:
        (slow,) = store_each(batcher, submission("slow"))
        await until_idle()
        (quick,) = store_each(batcher, submission("quick"))
        await until_idle()

        writer.release(1)

        assert await quick == StoreResult("stored", AT, "quick")
        assert not slow.done()
        writer.open()
        await slow


@pytest.mark.parametrize(
    ("sizes", "statements"),
    [
        ([500, 500], [["0", "1"]]),
        ([500, 501], [["0"], ["1"]]),
        ([999, 1, 1], [["0", "1"], ["2"]]),
        ([600, 600, 400], [["0", "2"], ["1"]]),
        ([1_000, 1_000], [["0"], ["1"]]),
        ([5_000], [["0"]]),
        ([1, 5_000, 1], [["0", "2"], ["1"]]),
    ],
)
@in_virtual_time
async def test_a_statement_holds_a_thousand_jobs_or_one_larger_submission(
    sizes: list[int], statements: list[list[str]]
) -> None:
    writer = ScriptedWriter()
    async with running_batcher(writer) as batcher:
        sent = [submission(str(place), jobs=size) for place, size in enumerate(sizes)]
        outcomes = await results_of(store_each(batcher, *sent))

    assert outcomes == stored_as(*(each.response for each in sent))
    assert writer.statements == statements


@in_virtual_time
async def test_a_second_use_of_a_key_waits_until_the_first_is_stored() -> None:
    writer = ScriptedWriter(is_open=False)
    async with running_batcher(writer) as batcher:
        first = store_each(batcher, submission("first", key="k"), submission("second", key="k"))
        await until_idle()
        first += store_each(batcher, submission("third", key="k"))
        await until_idle()
        under_way = list(writer.statements)
        writer.release()
        await until_idle()
        afterwards = list(writer.statements)
        writer.open()
        await results_of(first)

    assert under_way == [["first"]]
    assert afterwards == [["first"], ["second"]]
    assert writer.statements == [["first"], ["second"], ["third"]]


@in_virtual_time
async def test_a_waiting_key_does_not_delay_other_submissions() -> None:
    writer = ScriptedWriter(is_open=False)
    async with running_batcher(writer) as batcher:
        sent = store_each(batcher, submission("first", key="k"))
        await until_idle()
        sent += store_each(batcher, submission("second", key="k"), submission("c", key="l"), submission("d"))
        await until_idle()
        under_way = list(writer.statements)
        writer.open()
        await results_of(sent)

    assert under_way == [["first"], ["c", "d"]]


@in_virtual_time
async def test_keys_of_different_owners_are_independent() -> None:
    writer = ScriptedWriter()
    async with running_batcher(writer) as batcher:
        await results_of(
            store_each(batcher, submission("mine", key="k", owner=1), submission("yours", key="k", owner=2))
        )

    assert writer.statements == [["mine", "yours"]]


@in_virtual_time
async def test_a_key_is_free_again_after_its_statement_has_failed() -> None:
    writer = ScriptedWriter(DatabaseAwayError("cut"))
    async with running_batcher(writer) as batcher:
        (failed,) = await results_of(store_each(batcher, submission("a", key="k")))
        again = await batcher.store(submission("b", key="k"))

    assert isinstance(failed, DatabaseAwayError)
    assert again.at_text == "b"


@in_virtual_time
async def test_a_submission_cancelled_while_waiting_is_not_stored_and_takes_no_room() -> None:
    writer = ScriptedWriter(is_open=False)
    async with running_batcher(writer) as batcher:
        busy = store_each(batcher, submission("a"))
        await until_idle()
        busy += store_each(batcher, submission("b"))
        await until_idle()
        leaving, *staying = store_each(
            batcher, submission("leaving", jobs=900, key="k"), submission("c", jobs=900, key="k")
        )
        await until_idle()

        leaving.cancel()
        writer.open()

        assert await results_of([*busy, *staying]) == stored_as("a", "b", "c")
        assert leaving.cancelled()
    assert writer.statements == [["a"], ["b"], ["c"]]


@in_virtual_time
async def test_no_statement_is_sent_if_all_its_submissions_are_cancelled() -> None:
    writer = ScriptedWriter()
    async with running_batcher(writer) as batcher:
        leaving = store_each(batcher, *named("a", "b"))
        await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        await until_idle()

        assert await batcher.store(submission("c")) == StoreResult("stored", AT, "c")
    assert writer.statements == [["c"]]


@in_virtual_time
async def test_a_submission_cancelled_while_being_stored_does_not_affect_the_others() -> None:
    writer = ScriptedWriter(is_open=False)
    async with running_batcher(writer) as batcher:
        first, leaving, last = store_each(batcher, *named("a", "leaving", "c"))
        await until_idle()

        leaving.cancel()
        await until_idle()
        writer.open()

        assert await results_of([first, last]) == stored_as("a", "c")
        assert await batcher.store(submission("d")) == StoreResult("stored", AT, "d")
