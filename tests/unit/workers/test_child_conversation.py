"""The conversation between a worker and the child process of a step, which the test scripts."""

import errno
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
async def test_a_child_receives_its_step_and_returns_its_output() -> None:
    child, _, outcome = start_scripted()
    order = await child.receive()

    await child.send(protocol.Done("[1]"))
    await child.exit(0)

    assert order == RUN_STEP
    assert await outcome == "[1]"
    assert running_loop().passed < 0.001


@in_virtual_time
async def test_a_child_works_in_its_scratch_folder() -> None:
    child, _, outcome = start_scripted()
    await child.send(protocol.Done("null"))
    await child.exit(0)
    await outcome

    assert child.folder == "scratch"


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
async def test_reports_and_logs_of_a_child_reach_the_host(
    message: protocol.ToWorker, call: tuple[Any, ...]
) -> None:
    host = RecordingHost()
    child, _, outcome = start_scripted(host)
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
async def test_requests_of_a_child_get_a_reply(
    question: protocol.ToWorker, call: tuple[Any, ...], value: str
) -> None:
    host = RecordingHost(outputs={"measure": '{"lufs":-14}'})
    child, executor, _ = start_scripted(host)
    await child.receive()

    await child.send(question)

    assert await child.receive() == protocol.Reply(value)
    assert host.calls == [call]
    await executor.kill()


@in_virtual_time
async def test_a_refusal_of_the_host_is_sent_to_the_child() -> None:
    child, executor, _ = start_scripted(
        RecordingHost(refusal=PermanentError("there is no such file", code="file_not_found"))
    )
    await child.receive()

    await child.send(protocol.GetFilePath("an id"))

    assert await child.receive() == protocol.Reply(problem="there is no such file", code="file_not_found")
    await executor.kill()


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/data/files"),
            protocol.Reply(problem="No space left on device", errno=errno.ENOSPC),
        ),
        (OSError("a share that is gone"), protocol.Reply(problem="a share that is gone", errno=0)),
    ],
)
@in_virtual_time
async def test_an_error_of_the_store_is_sent_to_the_child(error: OSError, reply: protocol.Reply) -> None:
    child, executor, _ = start_scripted(RecordingHost(refusal=error))
    await child.receive()

    await child.send(protocol.SaveFile("one.wav", "scratch/one.wav", "audio/wav"))

    assert await child.receive() == reply
    await executor.kill()


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        (protocol.GetFilePath("an id"), protocol.Reply(stopped=True)),
        (protocol.WriteLog("hot", "info", "{}"), protocol.Stop()),
    ],
)
@in_virtual_time
async def test_a_child_is_stopped_after_its_lease_is_lost(
    message: protocol.ToWorker, reply: protocol.ToChild
) -> None:
    child, executor, _ = start_scripted(RecordingHost(refusal=LeaseLostError(UUID(int=7))))
    await child.receive()

    await child.send(message)

    assert await child.receive() == reply
    await executor.kill()


@in_virtual_time
async def test_a_working_child_receives_a_stop_message() -> None:
    child, executor, _ = start_scripted()
    await child.receive()

    executor.request_stop()

    assert await child.receive() == protocol.Stop()
    await executor.kill()


@in_virtual_time
async def test_an_early_stop_message_is_sent_after_the_step() -> None:
    child, executor, _ = start_scripted()

    executor.request_stop()

    assert [await child.receive(), await child.receive()] == [RUN_STEP, protocol.Stop()]
    await executor.kill()


@pytest.mark.parametrize(
    ("failure", "error"),
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
async def test_a_failure_in_a_child_raises_the_matching_error(
    failure: protocol.Failed, error: Exception
) -> None:
    child, _, outcome = start_scripted()
    await child.send(failure)
    await child.exit(0)

    with pytest.raises(type(error)) as caught:
        await outcome

    assert str(caught.value) == str(error)
    assert vars(caught.value) == vars(error)


@in_virtual_time
async def test_a_child_can_request_its_retry_delay() -> None:
    child, _, outcome = start_scripted()
    await child.send(protocol.Failed("retryable", "step_failed", "later", "", 7.5))
    await child.exit(0)

    with pytest.raises(RetryableError) as caught:
        await outcome

    assert caught.value.retry_after_seconds == 7.5
