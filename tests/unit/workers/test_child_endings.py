"""The end of a try in a child process that exits, breaks the protocol or does not end."""

import asyncio
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest

from headrace.workers.attempt.process_executor import ChildDiedError
from headrace.workers.attempt.waiting import StopSignal
from headrace.workers.child import protocol
from headrace.workers.child.fork import ForkServerEndedError
from headrace.workers.values import OutputError
from support.scripted_child import start_scripted
from support.virtual_time import in_virtual_time, running_loop, until_idle


@pytest.mark.parametrize(
    ("status", "ending"), [(0, "status 0"), (3, "status 3"), (-9, "signal SIGKILL"), (-11, "signal SIGSEGV")]
)
@in_virtual_time
async def test_a_child_that_exits_without_a_result_has_died(status: int, ending: str) -> None:
    child, _, outcome = start_scripted()
    await child.receive()

    await child.exit(status)

    with pytest.raises(ChildDiedError) as caught:
        await outcome
    assert str(caught.value) == f"the process of the step ended with {ending}"


@pytest.mark.parametrize("has_entered", [False, True])
@in_virtual_time
async def test_a_child_that_died_may_have_entered_the_step_once_it_has_said_so(has_entered: bool) -> None:
    child, _, outcome = start_scripted()
    await child.receive()
    if has_entered:
        await child.send(protocol.Entered())

    await child.exit(1)

    with pytest.raises(ChildDiedError) as caught:
        await outcome
    assert caught.value.has_entered is has_entered


@in_virtual_time
async def test_a_child_that_ends_with_the_fork_server_has_not_died() -> None:
    child, _, outcome = start_scripted()
    await child.receive()
    await child.send(protocol.Entered())

    child.is_interrupted = True
    await child.exit(-SIGKILL)

    with pytest.raises(ForkServerEndedError):
        await outcome


@pytest.mark.parametrize("cut", [0, 1, 3, 4, 5, -1])
@in_virtual_time
async def test_a_child_that_exits_within_a_message_has_died(cut: int) -> None:
    child, _, outcome = start_scripted()
    await child.receive()

    await child.send(protocol.encode(protocol.Done("[1]"))[:cut])
    await child.exit(1)

    with pytest.raises(ChildDiedError, match="status 1"):
        await outcome


@in_virtual_time
async def test_the_last_message_of_a_child_is_read_after_it_has_exited() -> None:
    child, _, outcome = start_scripted()
    await child.receive()

    await child.exit(0, leaves_socket_open=True)
    asyncio.get_running_loop().call_later(1.5, asyncio.create_task, child.send(protocol.Done("[1]")))

    assert await outcome == "[1]"
    await child.hang_up()


@in_virtual_time
async def test_a_socket_that_stays_open_after_the_exit_cannot_prolong_the_try() -> None:
    child, _, outcome = start_scripted()
    await child.receive()

    await child.exit(3, leaves_socket_open=True)

    with pytest.raises(ChildDiedError, match="status 3"):
        await outcome
    assert running_loop().passed == pytest.approx(2, abs=0.001)
    await child.hang_up()


@in_virtual_time
async def test_a_child_that_does_not_exit_after_its_result_is_killed() -> None:
    child, _, outcome = start_scripted()
    await child.receive()

    await child.send(protocol.Done("[1]"))

    assert await outcome == "[1]"
    assert (child.status, child.signals) == (-15, [SIGTERM, SIGKILL])


@in_virtual_time
async def test_a_child_has_no_more_time_to_exit_than_its_worker_has_to_stop() -> None:
    stop = StopSignal()
    child, _, outcome = start_scripted(exit_seconds=300, stop=stop)
    await child.send(protocol.Done("[1]"))
    await until_idle()

    stop.deadline = running_loop().time() + 4
    stop.set()

    assert await outcome == "[1]"
    assert child.signals == [SIGTERM, SIGKILL]
    assert running_loop().passed == pytest.approx(4, abs=1.1)


@in_virtual_time
async def test_a_child_that_breaks_the_protocol_gets_no_time_to_exit() -> None:
    child, _, outcome = start_scripted(exit_seconds=300)
    await child.receive()

    await child.send(b"\x00\x00\x00\x01\xc1")

    with pytest.raises(OutputError):
        await outcome
    assert running_loop().passed < 2


@in_virtual_time
async def test_the_process_group_of_a_child_is_killed_after_its_exit() -> None:
    child, _, outcome = start_scripted()
    await child.send(protocol.Done("[1]"))
    await child.exit(0)
    await outcome

    assert child.signals == [SIGKILL]


@in_virtual_time
async def test_a_child_that_closes_its_socket_and_keeps_running_is_killed() -> None:
    child, _, outcome = start_scripted()
    await child.receive()

    await child.hang_up()

    with pytest.raises(ChildDiedError):
        await outcome
    assert child.signals == [SIGTERM, SIGKILL]


@pytest.mark.parametrize(
    "frame",
    [
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x01\xc1",
        protocol.encode(protocol.Stop()),
        b"\x00\x00\x00\x03GET / HTTP/1.1",
    ],
)
@in_virtual_time
async def test_a_malformed_message_is_an_output_error(frame: bytes) -> None:
    child, _, outcome = start_scripted()
    await child.receive()

    await child.send(frame)

    with pytest.raises(OutputError, match="the step sent a message that cannot be read: ") as caught:
        await outcome
    assert caught.value.code == "message_invalid"


@pytest.mark.parametrize("size", [protocol.MAX_MESSAGE_BYTES + 1, 2**32 - 1])
@in_virtual_time
async def test_a_message_that_is_too_large_is_refused_before_it_is_read(size: int) -> None:
    child, _, outcome = start_scripted()
    await child.receive()

    await child.send(size.to_bytes(4, "big"))

    with pytest.raises(OutputError) as caught:
        await outcome
    assert (caught.value.code, str(caught.value)) == (
        "output_too_large",
        f"the step sent a message of {size} bytes",
    )


@in_virtual_time
async def test_a_message_of_32_mib_is_not_too_large() -> None:
    child, _, outcome = start_scripted()
    await child.receive()

    await child.send((32 * 1024 * 1024).to_bytes(4, "big"))
    await child.exit(1)

    with pytest.raises(ChildDiedError):
        await outcome


@in_virtual_time
async def test_a_killed_child_has_exited_when_kill_returns() -> None:
    child, executor, outcome = start_scripted()
    await child.receive()

    await executor.kill()
    assert child.status == -SIGTERM
    with pytest.raises(ChildDiedError, match="signal SIGTERM"):
        await outcome


@in_virtual_time
async def test_a_try_that_is_killed_before_its_start_starts_no_child() -> None:
    child, executor, outcome = start_scripted()
    await asyncio.sleep(0)

    await executor.kill()
    with pytest.raises(asyncio.CancelledError):
        await outcome
    assert child.folder is None


@in_virtual_time
async def test_a_child_that_cannot_be_started_fails_the_try(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> None:
        raise OSError("no memory")

    child, _, outcome = start_scripted()
    monkeypatch.setattr(child, "start_step", refuse)

    with pytest.raises(OSError, match="no memory"):
        await outcome
