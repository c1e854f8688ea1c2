"""The fork server of a worker when requests cannot be served, and when it ends."""

import asyncio
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headrace.adapters.process_tree import KILL_SECONDS
from headrace.domain.pipelines.loading import import_path
from headrace.workers.child.fork import ForkServerEndedError, StepNotStartedError
from headrace.workers.child.fork_server import ForkServer
from headrace.workers.child.process import ProcessHandle
from headrace.workers.child.server import Load
from support.patience import PATIENCE_SECONDS
from support.virtual_time import in_virtual_time, running_loop

pytestmark = pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="there is no fork server without Linux"
)


@asynccontextmanager
async def running(*sources: Path) -> AsyncIterator[ForkServer]:
    """Run a fork server that has loaded *sources*."""
    server = ForkServer(
        Load(
            sources=[str(source) for source in sources],
            import_path=list(import_path()),
            log_level="info",
            logs_json=False,
            secrets=[],
        ),
        os.environ,
    )
    try:
        await server.load()
        yield server
    finally:
        await server.stop()


def pid_of(server: ForkServer) -> int:
    assert server._process is not None
    assert server._process.pid is not None
    return server._process.pid


async def start(server: ForkServer, folder: Path) -> tuple[ProcessHandle, socket.socket]:
    """Start a process that waits for its step on the returned socket, and ends when that is closed."""
    own_end, child_end = socket.socketpair()
    try:
        with child_end:
            return await server.start_step(child_end.fileno(), str(folder)), own_end
    except BaseException:
        own_end.close()
        raise


async def end(process: ProcessHandle, connection: socket.socket) -> int:
    connection.close()
    return await process.wait()


async def test_requests_wait_while_the_server_does_not_read(tmp_path: Path) -> None:
    async with running() as server:
        assert server._control is not None
        server._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the system takes its minimum
        os.kill(pid_of(server), signal.SIGSTOP)
        starting = [asyncio.ensure_future(start(server, tmp_path)) for _ in range(12)]
        while server._writable is None:
            await asyncio.sleep(0)
        os.kill(pid_of(server), signal.SIGCONT)
        started = await asyncio.gather(*starting)
        statuses = [await end(*pair) for pair in started]

    assert statuses == [0] * 12


async def test_a_process_that_cannot_be_started_has_not_died(tmp_path: Path) -> None:
    async with running() as server:
        limits = resource.prlimit(pid_of(server), resource.RLIMIT_NOFILE)
        resource.prlimit(pid_of(server), resource.RLIMIT_NOFILE, (3, limits[1]))
        with pytest.raises(StepNotStartedError, match="could not be started: Too many open files"):
            await start(server, tmp_path)
        resource.prlimit(pid_of(server), resource.RLIMIT_NOFILE, limits)

        assert await end(*await start(server, tmp_path)) == 0


async def test_a_server_that_ends_starts_no_more_steps(tmp_path: Path) -> None:
    ends: list[str] = []
    async with running() as server:
        server.call_on_end(lambda: ends.append("first"))
        process, connection = await start(server, tmp_path)
        os.kill(pid_of(server), signal.SIGKILL)
        await process.wait()

        assert process.is_interrupted
        with pytest.raises(ForkServerEndedError):
            await start(server, tmp_path)
        with pytest.raises(ForkServerEndedError):
            await server.load()
        server.call_on_end(lambda: ends.append("second"))
        connection.close()

    assert ends == ["first", "second"]


async def test_a_server_that_hangs_is_killed_and_starts_no_more_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[None] = []
    async with running() as server:
        server.call_on_end(lambda: ends.append(None))
        process, connection = await start(server, tmp_path)
        os.kill(pid_of(server), signal.SIGSTOP)
        monkeypatch.setattr("headrace.workers.child.fork_server._PROBE_SECONDS", 0.01)
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(ForkServerEndedError):
                await start(server, tmp_path)
            await process.wait()
        connection.close()

    assert (process.is_interrupted, ends) == (True, [None])


async def test_a_server_that_answers_its_probes_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unanswered: list[int] = []
    monkeypatch.setattr("headrace.workers.child.fork_server._PROBE_SECONDS", 0.01)
    # It may answer as late as this machine lets it, but before the test ends.
    monkeypatch.setattr("headrace.workers.child.fork_server._MAX_UNANSWERED_PROBES", 3_000)
    async with running() as server:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(unanswered) < 50:
                unanswered.append(server._unanswered_probes)
                await asyncio.sleep(0.01)
            while server._unanswered_probes > 1:
                await asyncio.sleep(0.01)

        assert await end(*await start(server, tmp_path)) == 0


async def test_a_step_whose_process_takes_too_long_to_start_was_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.workers.child.fork_server._START_SECONDS", 0.1)
    async with running() as server:
        os.kill(pid_of(server), signal.SIGSTOP)
        with pytest.raises(StepNotStartedError, match=r"could not be started: it took longer than 0.1 s"):
            await start(server, tmp_path)


async def test_requests_that_wait_are_refused_when_the_server_ends(tmp_path: Path) -> None:
    async with running() as server:
        assert server._control is not None
        server._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        os.kill(pid_of(server), signal.SIGSTOP)
        starting = [asyncio.ensure_future(start(server, tmp_path)) for _ in range(12)]
        while server._writable is None:
            await asyncio.sleep(0)
        os.kill(pid_of(server), signal.SIGKILL)
        outcomes = await asyncio.gather(*starting, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [ForkServerEndedError] * 12


async def test_a_server_that_ends_while_it_loads_is_replaced_by_an_empty_one(tmp_path: Path) -> None:
    source = tmp_path / "ends_its_first_process.py"
    source.write_text(
        "import os, pathlib\n"
        f"note = pathlib.Path({str(tmp_path / 'note')!r})\n"
        "if not note.exists():\n    note.touch()\n    os._exit(3)\n"
    )
    ends: list[None] = []
    async with running(source) as server:
        server.call_on_end(lambda: ends.append(None))

        assert await end(*await start(server, tmp_path)) == 0

    assert ends == []
    assert (tmp_path / "note").exists()


class RecordedHandle(ProcessHandle):
    """A process that does not end. The moments of the signals to its group are recorded."""

    def __init__(self) -> None:
        super().__init__(1 << 30, running_loop().create_future())
        self.signals: list[tuple[signal.Signals, float]] = []

    def signal(self, number: signal.Signals) -> None:
        self.signals.append((number, running_loop().passed))


@in_virtual_time
async def test_a_process_has_time_to_end_what_it_started_before_it_is_killed() -> None:
    process = RecordedHandle()

    process.end()
    await asyncio.sleep(60)

    ((number, sent_at),) = process.signals
    assert number == signal.SIGKILL
    assert sent_at >= KILL_SECONDS + 1
