"""A step in a child process: spawned, heard over a socket, stopped softly, killed when that does not help."""

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from headrace.adapters.tasks import cancel_and_wait
from headrace.domain.jobs.errors import LeaseLostError
from headrace.domain.pipelines.context import JobCancelledError, PermanentError, RetryableError
from headrace.workers.attempt.step_host import StepHost
from headrace.workers.attempt.values import OutputError
from headrace.workers.child import protocol as wire
from headrace.workers.child.process import Child
from headrace.workers.fresh_python import fresh_python

_log = structlog.get_logger(__name__)

_EXIT_SECONDS: Final = 2.0
# What computes for long leaves the first turn to the loops, the heartbeats and PostgreSQL.
_NICE: Final = 10
# One thread for each library that brings its own: a child is one unit of work.
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


class ChildDiedError(Exception):
    """The child ended without a word: killed by the system, or it left by `os._exit`."""

    def __init__(self, status: int | None) -> None:
        reason = (
            f"signal {signal.Signals(-status).name}"
            if status is not None and status < 0
            else f"status {status}"
        )
        super().__init__(f"the process of the step ended with {reason}")


class ChildError(Exception):
    """The step raised something in the child; its traceback is in *traceback*."""

    def __init__(self, message: str, traceback: str) -> None:
        super().__init__(message)
        self.traceback = traceback


class ProcessExecutor:
    """`headrace.workers.attempt.executors.Running` in a child process."""

    def __init__(self, order: wire.RunStep, name: str, key: str, desk: StepHost) -> None:
        self._order = order
        self._name = name
        self._key = key
        self._desk = desk
        self._process: Child | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[str] | None = None
        self._is_stopping = False

    def start(self) -> asyncio.Future[Any]:
        self._task = asyncio.create_task(self._run())
        return self._task

    def output(self, returned: str) -> str:
        return returned

    async def _run(self) -> str:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = Child(
                    fresh_python("headrace.workers.child.main", str(theirs.fileno()), nice=_NICE),
                    environment=os.environ | _ONE_THREAD,
                    folder=self._order.scratch,
                    descriptors=(theirs.fileno(),),
                )
            reader, self._writer = await asyncio.open_connection(sock=ours, limit=wire.MAX_MESSAGE)
        except BaseException:
            ours.close()
            raise
        try:
            await self._send(self._order)
            if self._is_stopping:
                self.ask_to_stop()  # it was asked before there was anybody to tell
            return _output_of(await self._outcome(reader, self._process))
        finally:
            self._writer.close()
            await self._end(self._process)

    def ask_to_stop(self) -> None:
        self._is_stopping = True
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(wire.encode(wire.Stop()))

    async def kill(self) -> bool:
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
        if self._task is not None:
            # It sees the process gone, which is bounded, or has not come to start one.
            if self._process is None:
                self._task.cancel()
            await asyncio.wait({self._task})
        return True

    async def _outcome(self, reader: asyncio.StreamReader, process: Child) -> wire.Done | wire.Failed:
        """What the child says at its end.

        Raises:
            ChildDiedError: it ended without a word.
        """
        listening, ended = asyncio.create_task(self._listen(reader)), asyncio.create_task(process.wait())
        try:
            await asyncio.wait({listening, ended}, return_when=asyncio.FIRST_COMPLETED)
            # What it said last may still be on its way. What it has left behind may hold the socket open.
            await asyncio.wait({listening}, timeout=_EXIT_SECONDS)
            if not listening.done():
                raise ChildDiedError(process.status)
            return listening.result()
        finally:
            await cancel_and_wait([listening, ended])

    async def _listen(self, reader: asyncio.StreamReader) -> wire.Done | wire.Failed:
        while True:
            try:
                (size,) = wire.HEADER.unpack(await reader.readexactly(wire.HEADER.size))
                if size > wire.MAX_MESSAGE:
                    raise OutputError("output_too_large", f"the step sent a message of {size} bytes")
                message = wire.decode_for_worker(await reader.readexactly(size))
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise ChildDiedError(await self._status()) from error
            except msgspec.MsgspecError as error:
                raise OutputError(
                    "message_invalid", f"the step sent what nobody can read: {error}"
                ) from error
            if isinstance(message, wire.Done | wire.Failed):
                return message
            answer = await self._handle(message)
            if answer is not None:
                await self._send(answer)

    async def _handle(self, message: wire.ToWorker) -> wire.Reply | None:
        try:
            return await self._grant(message)
        except PermanentError as error:
            return wire.Reply(problem=str(error), code=error.code)
        except LeaseLostError:
            if not isinstance(message, wire.Line):
                return wire.Reply(stopped=True)
            self.ask_to_stop()  # nobody waits for an answer to a log line
        return None

    async def _grant(self, message: wire.ToWorker) -> wire.Reply | None:
        desk, answer = self._desk, None
        match message:
            case wire.Report():
                desk.report(self._name, self._key, message.done, message.total, message.message)
            case wire.Line():
                await desk.log(self._key, message.message, message.level, msgspec.json.decode(message.fields))
            case wire.SaveFile():
                saved = await desk.save_file(self._key, message.name, Path(message.path), message.media_type)
                answer = wire.Reply(str(saved))
            case wire.FindFile():
                answer = wire.Reply(str(await desk.file_path(message.file_id)))
            case wire.AskOutput():
                answer = wire.Reply(desk.output(message.step))
        return answer

    async def _send(self, message: wire.ToChild) -> None:
        if self._writer is None:
            return
        # uvloop says RuntimeError of a socket that was closed.
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._writer.write(wire.encode(message))
            await self._writer.drain()

    async def _status(self) -> int | None:
        if self._process is None:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_SECONDS):
                return await self._process.wait()
        return None

    async def _end(self, process: Child) -> None:
        """See the child gone: by itself within a moment, else by force."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EXIT_SECONDS):
                    await process.wait()
        finally:
            process.signal(signal.SIGKILL)
            await process.wait()


def _output_of(outcome: wire.Done | wire.Failed) -> str:
    if isinstance(outcome, wire.Done):
        return outcome.output
    match outcome.kind:
        case "stopped":
            raise JobCancelledError
        case "retryable":
            raise RetryableError(outcome.message, retry_after=outcome.retry_after_seconds)
        case "permanent":
            raise PermanentError(outcome.message, code=outcome.code)
        case _:
            raise ChildError(outcome.message, outcome.traceback)
