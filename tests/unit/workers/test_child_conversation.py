"""The conversation between a worker and the child process of a step; the test scripts the child."""

import os
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from headrace.domain.jobs.errors import LeaseLostError
from headrace.domain.pipelines.context import JobCancelledError, PermanentError, RetryableError
from headrace.workers.attempt.process_executor import ChildError
from headrace.workers.child import protocol
from support.scripted_child import FILE, RUN_STEP, RecordingHost, start_scripted
from support.virtual_time import in_virtual_time, running_loop


@in_virtual_time
async def test_a_child_gets_its_order_and_its_output_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    child, _, outcome = start_scripted(monkeypatch)
    order = await child.receive()

    await child.send(protocol.Done("[1]"))
    await child.exit(0)

    assert order == RUN_STEP
    assert await outcome == "[1]"
    assert running_loop().passed < 0.001


@in_virtual_time
async def test_a_child_works_in_its_scratch_folder_with_one_thread_for_each_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child, _, outcome = start_scripted(monkeypatch)
    await child.send(protocol.Done("null"))
    await child.exit(0)
    await outcome

    assert child.folder == "scratch"
    assert {name: child.environment[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")} == {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    assert child.environment["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (protocol.ReportProgress(1, 3, "first"), ("report", "mix", "mix[2]", 1, 3, "first")),
        (
            protocol.WriteLog("hot", "warning", '{"peak":0.5}'),
            ("log", "mix[2]", "hot", "warning", {"peak": 0.5}),
        ),
    ],
)
@in_virtual_time
async def test_what_a_child_tells_reaches_the_desk(
    message: protocol.ToWorker, call: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = RecordingHost()
    child, _, outcome = start_scripted(monkeypatch, host)
    await child.send(message)
    await child.send(protocol.Done("null"))
    await child.exit(0)
    await outcome

    assert host.calls == [call]


@pytest.mark.parametrize(
    ("question", "call", "value"),
    [
        (
            protocol.SaveFile("one.wav", "scratch/one.wav", "audio/wav"),
            ("save_file", "mix[2]", "one.wav", Path("scratch/one.wav"), "audio/wav"),
            str(FILE),
        ),
        (protocol.GetFilePath("an id"), ("file_path", "an id"), "stored"),
        (protocol.GetOutput("measure"), ("output", "measure"), '{"lufs":-14}'),
    ],
)
@in_virtual_time
async def test_what_a_child_asks_is_answered(
    question: protocol.ToWorker, call: tuple[Any, ...], value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = RecordingHost(outputs={"measure": '{"lufs":-14}'})
    child, executor, _ = start_scripted(monkeypatch, host)
    await child.receive()

    await child.send(question)

    assert await child.receive() == protocol.Reply(value)
    assert host.calls == [call]
    await executor.kill()


@in_virtual_time
async def test_what_the_desk_refuses_is_a_problem_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    child, executor, _ = start_scripted(
        monkeypatch, RecordingHost(refusal=PermanentError("there is no such file", code="file_not_found"))
    )
    await child.receive()

    await child.send(protocol.GetFilePath("an id"))

    assert await child.receive() == protocol.Reply(problem="there is no such file", code="file_not_found")
    await executor.kill()


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        (protocol.GetFilePath("an id"), protocol.Reply(stopped=True)),
        (protocol.WriteLog("hot", "info", "{}"), protocol.Stop()),
    ],
)
@in_virtual_time
async def test_a_child_whose_job_is_somebody_elses_now_is_told_to_leave(
    message: protocol.ToWorker, reply: protocol.ToChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    child, executor, _ = start_scripted(monkeypatch, RecordingHost(refusal=LeaseLostError(UUID(int=7))))
    await child.receive()

    await child.send(message)

    assert await child.receive() == reply
    await executor.kill()


@in_virtual_time
async def test_a_child_is_told_to_stop_while_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    child, executor, _ = start_scripted(monkeypatch)
    await child.receive()

    executor.request_stop()

    assert await child.receive() == protocol.Stop()
    await executor.kill()


@in_virtual_time
async def test_a_child_that_is_stopped_before_it_hears_gets_the_order_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child, executor, _ = start_scripted(monkeypatch)

    executor.request_stop()

    assert [await child.receive(), await child.receive()] == [RUN_STEP, protocol.Stop()]
    await executor.kill()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (protocol.Failed("stopped", "stopped", "the step stopped"), JobCancelledError()),
        (protocol.Failed("retryable", "step_failed", "later"), RetryableError("later")),
        (
            protocol.Failed("permanent", "silence", "it is silent"),
            PermanentError("it is silent", code="silence"),
        ),
        (
            protocol.Failed("error", "step_failed", "KeyError: 1", "Traceback"),
            ChildError("KeyError: 1", "Traceback"),
        ),
        (protocol.Failed("unheard of", "c", "m"), ChildError("m", "")),
    ],
    ids=lambda case: type(case).__name__,
)
@in_virtual_time
async def test_a_step_that_fails_in_a_child_fails_as_it_would_here(
    said: protocol.Failed, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    child, _, outcome = start_scripted(monkeypatch)
    await child.send(said)
    await child.exit(0)

    with pytest.raises(type(error)) as caught:
        await outcome

    assert str(caught.value) == str(error)
    assert vars(caught.value) == vars(error)


@in_virtual_time
async def test_a_child_says_when_it_wants_to_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    child, _, outcome = start_scripted(monkeypatch)
    await child.send(protocol.Failed("retryable", "step_failed", "later", "", 7.5))
    await child.exit(0)

    with pytest.raises(RetryableError) as caught:
        await outcome

    assert caught.value.retry_after_seconds == 7.5
