"""Batches of submissions that the database refuses or does not answer, and the end of the batcher."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from headrace.adapters.submission_batcher import SubmissionBatcher
from headrace.domain.database import DatabaseAwayError, DatabaseBusyError
from headrace.domain.jobs.submission.submission import StoreResult, Submission
from support.submission_builders import (
    POISON,
    ScriptedWriter,
    named,
    results_of,
    running_batcher,
    store_each,
    stored_as,
    submission,
)
from support.virtual_time import in_virtual_time, until_idle

ENDING = "PostgreSQL is not available (this process is ending)"


@in_virtual_time
async def test_one_rejected_submission_does_not_fail_the_others_in_its_batch() -> None:
    writer = ScriptedWriter()
    async with running_batcher(writer) as batcher:
        first, rejected, last = await results_of(store_each(batcher, *named("a", POISON, "c")))

    assert [first, last] == stored_as("a", "c")
    assert isinstance(rejected, asyncpg.DataError)
    assert writer.statements == [["a", POISON, "c"], ["a"], [POISON], ["c"]]


@in_virtual_time
async def test_a_single_rejected_submission_is_not_retried() -> None:
    error = asyncpg.DataError("a poisoned row")
    writer = ScriptedWriter(error)
    async with running_batcher(writer) as batcher:
        outcomes = await results_of(store_each(batcher, submission("a")))

    assert outcomes == [error]
    assert writer.statements == [["a"]]


@in_virtual_time
async def test_each_rejected_submission_gets_its_own_error() -> None:
    whole, first, last = asyncpg.DataError("all"), asyncpg.DataError("a"), asyncpg.DataError("c")
    async with running_batcher(ScriptedWriter(whole, first, None, last)) as batcher:
        outcomes = await results_of(store_each(batcher, *named("a", "b", "c")))

    assert outcomes == [first, *stored_as("b"), last]


@in_virtual_time
async def test_the_batcher_continues_after_a_rejection() -> None:
    async with running_batcher(ScriptedWriter()) as batcher:
        await results_of(store_each(batcher, submission(POISON)))

        assert await results_of(store_each(batcher, *named("a", "b"))) == stored_as("a", "b")


@pytest.mark.parametrize("times", [1, 2])
@in_virtual_time
async def test_a_statement_is_retried_while_the_database_is_busy(times: int) -> None:
    writer = ScriptedWriter(*[DatabaseBusyError("deadlock")] * times)
    async with running_batcher(writer) as batcher:
        outcomes = await results_of(store_each(batcher, *named("a", "b")))

    assert outcomes == stored_as("a", "b")
    assert writer.statements == [["a", "b"]] * (times + 1)


@in_virtual_time
async def test_callers_get_the_error_of_a_busy_database_after_the_third_try() -> None:
    errors = [DatabaseBusyError(f"deadlock {turn}") for turn in (1, 2, 3)]
    writer = ScriptedWriter(*errors)
    async with running_batcher(writer) as batcher:
        outcomes = await results_of(store_each(batcher, *named("a", "b")))

    assert outcomes == [errors[2], errors[2]]
    assert writer.statements == [["a", "b"]] * 3


@in_virtual_time
async def test_submissions_stored_one_by_one_are_tried_three_times_each() -> None:
    busy = DatabaseBusyError("deadlock")
    writer = ScriptedWriter(asyncpg.DataError("all"), busy, busy, None, busy, busy, busy)
    async with running_batcher(writer) as batcher:
        outcomes = await results_of(store_each(batcher, *named("a", "b", "c")))

    assert outcomes == [*stored_as("a"), busy, *stored_as("c")]
    assert writer.statements == [["a", "b", "c"], *[["a"]] * 3, *[["b"]] * 3, ["c"]]


@pytest.mark.parametrize("error", [DatabaseAwayError("cut"), RuntimeError("a fault of ours")], ids=repr)
@in_virtual_time
async def test_an_error_with_an_unknown_outcome_fails_the_whole_batch_without_a_retry(
    error: Exception,
) -> None:
    writer = ScriptedWriter(error)
    async with running_batcher(writer) as batcher:
        outcomes = await results_of(store_each(batcher, *named("a", "b")))
        later = await batcher.store(submission("c"))

    assert outcomes == [error, error]
    assert later.at_text == "c"
    assert writer.statements == [["a", "b"], ["c"]]


@in_virtual_time
async def test_a_connection_lost_midway_fails_only_the_submission_being_stored() -> None:
    away = DatabaseAwayError("cut")
    async with running_batcher(ScriptedWriter(asyncpg.DataError("all"), None, away)) as batcher:
        outcomes = await results_of(store_each(batcher, *named("a", "b", "c")))

    assert outcomes == [*stored_as("a"), away, *stored_as("c")]


@in_virtual_time
async def test_an_error_reaches_the_remaining_callers_after_one_was_cancelled() -> None:
    away = DatabaseAwayError("cut")
    writer = ScriptedWriter(away, is_open=False)
    async with running_batcher(writer) as batcher:
        leaving, staying = store_each(batcher, *named("leaving", "b"))
        await until_idle()

        leaving.cancel()
        await until_idle()
        writer.open()

        assert await results_of([staying]) == [away]


@in_virtual_time
async def test_waiting_callers_get_an_error_when_the_batcher_stops() -> None:
    writer = ScriptedWriter(is_open=False)
    batcher = SubmissionBatcher(writer)
    task = asyncio.create_task(batcher.run())
    waiting = []
    for name in "abc":
        waiting += store_each(batcher, submission(name))
        await until_idle()

    task.cancel()
    outcomes = await results_of(waiting)
    await asyncio.wait({task})

    assert task.cancelled()
    assert writer.statements == [["a"], ["b"]]
    assert [type(outcome) for outcome in outcomes] == [DatabaseAwayError] * 3
    assert [str(outcome) for outcome in outcomes] == [ENDING] * 3


@in_virtual_time
async def test_submissions_to_a_stopped_batcher_are_refused_at_once() -> None:
    async with running_batcher(ScriptedWriter()) as batcher:
        await batcher.store(submission("a"))

    with pytest.raises(DatabaseAwayError) as caught:
        batcher.store(submission("b")).send(None)

    assert str(caught.value) == ENDING


@in_virtual_time
async def test_cancelled_callers_do_not_disturb_the_stop_of_the_batcher() -> None:
    writer = ScriptedWriter(is_open=False)
    async with running_batcher(writer) as batcher:
        leaving = []
        for name in "abc":
            leaving += store_each(batcher, submission(name))
            await until_idle()
        for task in leaving:
            task.cancel()
        await until_idle()

    assert [task.cancelled() for task in leaving] == [True] * 3


@in_virtual_time
async def test_a_statement_with_too_few_results_stops_the_batcher_and_fails_the_callers() -> None:
    async def forgetful(submissions: Sequence[Submission]) -> list[StoreResult]:
        return stored_as(*(submission.response for submission in submissions[:-1]))

    batcher = SubmissionBatcher(forgetful)
    task = asyncio.create_task(batcher.run())
    *_, last = await results_of(store_each(batcher, *named("a", "b")))
    await asyncio.wait({task})

    assert str(last) == ENDING
    assert isinstance(task.exception(), ExceptionGroup)
