"""Runs one try of a step in a child process, serves its requests over a socket, and kills it when it must."""

import asyncio
import contextlib
import signal
import socket
from pathlib import Path
from typing import Final

import msgspec

from headrace.adapters.tasks import cancel_and_wait
from headrace.domain.jobs.errors import LeaseLostError
from headrace.domain.json_decoding import decode_json
from headrace.domain.pipelines.context import JobCancelledError, PermanentError, RetryableError
from headrace.workers.attempt.step_host import StepHost
from headrace.workers.attempt.waiting import StopSignal, wait_for_end
from headrace.workers.child import protocol
from headrace.workers.child.fork import ForkServerEndedError
from headrace.workers.child.fork_server import ForkServer
from headrace.workers.child.pieces import Pieces, cut
from headrace.workers.child.process import ProcessHandle
from headrace.workers.values import OutputError, error_text

_EXIT_TIMEOUT_SECONDS: Final = 2.0


class ChildDiedError(Exception):
    """The child exited without a result: the system killed it, or the step called `os._exit`.

    *has_entered*: it may have entered the step.
    """

    def __init__(self, status: int | None, *, has_entered: bool = True) -> None:
        self.has_entered = has_entered
        reason = f"status {status}" if status is None or status >= 0 else _name_signal(-status)
        super().__init__(f"the process of the step ended with {reason}")


def _name_signal(number: int) -> str:
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:  # a real-time signal
        return f"signal {number}"


class ChildError(Exception):
    """The step raised an exception in the child; *traceback* is its text."""

    def __init__(self, message: str, traceback: str) -> None:
        super().__init__(message)
        self.traceback = traceback


class ProcessExecutor:
    """The `StepExecutor` of steps that run in a child process."""

    def __init__(
        self,
        message: protocol.RunStep,
        name: str,
        key: str,
        host: StepHost,
        *,
        fork_server: ForkServer,
        exit_seconds: float,
    ) -> None:
        """*message* names the step to run; *name* and *key* are those of the step run.

        *exit_seconds*: how long the process may take to exit after its last message, at most.
        """
        self._message = message
        self._name = name
        self._key = key
        self._host = host
        self._fork_server = fork_server
        self._exit_seconds = exit_seconds
        self._process: ProcessHandle | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[str] | None = None
        # The child has been sent its step.
        self._has_step = False
        self._is_stopping = False
        self._is_exiting = False
        self._has_entered = False

    def start(self) -> asyncio.Future[str]:
        self._task = asyncio.create_task(self._run())
        return self._task

    def request_stop(self) -> None:
        self._is_stopping = True
        if self._has_step and self._writer is not None and not self._writer.is_closing():
            self._writer.write(protocol.encode(protocol.Stop()))

    async def kill(self) -> None:
        if self._process is not None:
            self._process.end()
        if self._task is not None:
            # The task ends soon after its process. Without one, it has to be cancelled.
            if self._process is None:
                self._task.cancel()
            await asyncio.wait({self._task})

    def release(self) -> None:
        self._task = None

    async def finish(self, stop: StopSignal) -> None:
        """Wait until nothing of the try runs any more. Its result is known, and its time limit is over.

        A process that has sent its last message has its grace time to exit, until the deadline of *stop*.
        """
        if self._process is not None:
            await self._reap(self._process, stop)
        if self._writer is not None:
            self._writer.close()

    async def _run(self) -> str:
        own_end, child_end = socket.socketpair()
        try:
            with child_end:
                self._process = await self._fork_server.start_step(child_end.fileno(), self._message.scratch)
            reader, self._writer = await asyncio.open_connection(
                sock=own_end, limit=protocol.MAX_MESSAGE_BYTES
            )
        except BaseException:
            own_end.close()
            raise
        await self._send(self._message)
        self._has_step = True
        if self._is_stopping:
            self.request_stop()  # the first request came before the step was sent
        return _output_or_error(await self._serve_until_exit(reader, self._process))

    async def _serve_until_exit(
        self, reader: asyncio.StreamReader, process: ProcessHandle
    ) -> protocol.Done | protocol.Failed:
        """Serve the child's requests and return its last message.

        Raises:
            ChildDiedError: it exited without one.
            ForkServerEndedError: it ended with the fork server.
        """
        serving, exited = asyncio.create_task(self._serve(reader)), asyncio.create_task(process.wait())
        try:
            await asyncio.wait({serving, exited}, return_when=asyncio.FIRST_COMPLETED)
            # The last message may still be in the socket. A process that the child started may keep the
            # socket open, so this wait is bounded.
            await asyncio.wait({serving}, timeout=_EXIT_TIMEOUT_SECONDS)
            if not serving.done():
                raise self._exit_error(process.status)
            return serving.result()
        finally:
            await cancel_and_wait([serving, exited])

    async def _serve(self, reader: asyncio.StreamReader) -> protocol.Done | protocol.Failed:
        pieces, total = Pieces(), 0
        while True:
            try:
                (size,) = protocol.HEADER.unpack(await reader.readexactly(protocol.HEADER.size))
                total += size
                if total > protocol.MAX_MESSAGE_BYTES:
                    raise OutputError("output_too_large", f"the step sent a message of {total} bytes")
                received = protocol.decode_for_worker(await reader.readexactly(size))
                message: protocol.ToWorker | None = pieces.join(received)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise self._exit_error(await self._exit_status()) from error
            except msgspec.MsgspecError as error:
                raise OutputError(
                    "message_invalid", f"the step sent a message that cannot be read: {error}"
                ) from error
            if message is None:
                await asyncio.sleep(0)  # the next piece may be there already
                continue
            # Others may come between the pieces, which count until they are joined.
            if pieces.is_empty:
                total = 0
            if isinstance(message, protocol.Done | protocol.Failed):
                self._is_exiting = True
                return message
            reply = await self._handle(message)
            if reply is not None:
                await self._send(reply)

    async def _handle(self, message: protocol.ToWorker) -> protocol.Reply | None:
        try:
            return await self._dispatch(message)
        except PermanentError as error:
            return protocol.Reply(problem=str(error), code=error.code)
        except OSError as error:
            return protocol.Reply(problem=error.strerror or error_text(error), errno=error.errno or 0)
        except LeaseLostError:
            if not isinstance(message, protocol.WriteLog):
                return protocol.Reply(stopped=True)
            self.request_stop()  # the child does not wait for a reply to a log line
        return None

    async def _dispatch(self, message: protocol.ToWorker) -> protocol.Reply | None:
        host, reply = self._host, None
        match message:
            case protocol.Entered():
                self._has_entered = True
            case protocol.ReportProgress():
                host.report(self._name, self._key, message.done, message.total, message.message)
            case protocol.WriteLog():
                await host.log(self._key, message.message, message.level, decode_json(message.fields))
            case protocol.SaveFile():
                file_id = await host.save_file(
                    self._key, message.name, Path(message.path), message.media_type
                )
                reply = protocol.Reply(str(file_id))
            case protocol.GetFilePath():
                reply = protocol.Reply(str(await host.file_path(self._key, message.file_id)))
            case protocol.GetOutput():
                reply = protocol.Reply(host.output(message.step))
        return reply

    async def _send(self, message: protocol.ToChild) -> None:
        if self._writer is None:
            return
        # uvloop raises RuntimeError for a socket that was closed.
        with contextlib.suppress(ConnectionError, RuntimeError):
            for part in cut(message):
                self._writer.write(protocol.encode(part))
                await self._writer.drain()
                if isinstance(part, protocol.Piece):
                    await asyncio.sleep(0)  # the socket may have room for the next piece already

    def _exit_error(self, status: int | None) -> Exception:
        """Return the error for a child that exited without a result."""
        if self._process is not None and self._process.is_interrupted:
            return ForkServerEndedError()
        return ChildDiedError(status, has_entered=self._has_entered)

    async def _exit_status(self) -> int | None:
        if self._process is None:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_TIMEOUT_SECONDS):
                return await self._process.wait()
        return None

    async def _reap(self, process: ProcessHandle, stop: StopSignal) -> None:
        """Wait for the child to exit if it has sent its last message, and end it when it takes too long."""
        exited = asyncio.create_task(process.wait())
        try:
            await wait_for_end(exited, stop, self._exit_seconds if self._is_exiting else 0.0)
        finally:
            await cancel_and_wait([exited])
            if process.status is None:
                process.end()
            await process.wait()
            # What is left of the process group where orphans are not adopted.
            process.signal(signal.SIGKILL)


def _output_or_error(message: protocol.Done | protocol.Failed) -> str:
    """Return the output as JSON, or raise the error of the step in the worker."""
    if isinstance(message, protocol.Done):
        return message.output
    match message.kind:
        case "stopped":
            raise JobCancelledError
        case "retryable":
            raise RetryableError(message.message, retry_after=message.retry_after_seconds)
        case "permanent":
            raise PermanentError(message.message, code=message.code)
        case _:
            raise ChildError(message.message, message.traceback)
