"""The entry point of a child process, which runs one step and exits. `ProcessExecutor` starts it."""

import contextlib
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID, uuid4

import msgspec

from headrace.adapters.log_stream import bounded_stderr
from headrace.adapters.logs import RunningJob, configure_logging, name_process
from headrace.adapters.tracing.tracing import continue_trace
from headrace.domain.pipelines.context import JobCancelledError, PermanentError, RetryableError
from headrace.domain.pipelines.definition import Pipeline, StepHandle
from headrace.domain.pipelines.loading import load_with_path, pipelines_in
from headrace.domain.pipelines.tracebacks import format_author_traceback
from headrace.workers.child import protocol
from headrace.workers.child.keeper import run_kept
from headrace.workers.child.oom import prefer_oom_kill
from headrace.workers.child.pieces import Pieces, cut
from headrace.workers.log_fields import plain_fields
from headrace.workers.outputs import encode_output
from headrace.workers.step_output import StepLog, captured_output
from headrace.workers.values import (
    OutputError,
    bytes_or_path,
    error_text,
    finite_number,
    named_error,
    plain_text,
)

_MAX_PROGRESS_TEXT_BYTES: Final = 500
_MAX_LOG_CHARACTERS: Final = 16 * 1024
_MAX_TRACEBACK_BYTES: Final = 64_000
# The step has ended, and waits for its spans to be sent.
_TRACE_SECONDS: Final = 0.5


class ChildContext:
    """The context of a step in a child: `headrace.domain.pipelines.context.StepContext` over the socket."""

    def __init__(self, run: protocol.RunStep, pipeline: Pipeline, params: Any, link: "Link") -> None:
        self._pipeline = pipeline
        self._link = link
        self.params = params
        self.job_id = run.job_id
        self.attempt = run.attempt
        self.scratch = Path(run.scratch)

    def output(self, step: StepHandle) -> Any:
        return self._pipeline.decode_output(step, self._link.request(protocol.GetOutput(step.name)))

    def progress(self, done: float, total: float, message: str | None = None) -> None:
        text = None if message is None else plain_text(str(message), _MAX_PROGRESS_TEXT_BYTES)
        self._link.send(protocol.ReportProgress(finite_number(done), finite_number(total), text))

    def log(self, message: str, level: str = "info", **fields: Any) -> None:
        self._link.send(_log_message(message, level, fields))

    def save_file(self, name: str, data_or_path: bytes | Path | str, media_type: str) -> UUID:
        source = bytes_or_path(data_or_path)
        if isinstance(source, Path):
            return self._save(name, source.absolute(), media_type)
        path = self.scratch / f".{uuid4().hex}.part"
        path.write_bytes(source)
        try:
            return self._save(name, path, media_type)
        finally:
            path.unlink(missing_ok=True)

    def _save(self, name: str, path: Path, media_type: str) -> UUID:
        return UUID(self._link.request(protocol.SaveFile(str(name), str(path), str(media_type))))

    def open_file(self, file_id: UUID | str) -> BinaryIO:
        return Path(self._link.request(protocol.GetFilePath(str(file_id)))).open("rb")

    def raise_if_cancelled(self) -> None:
        if self._link.stopping.is_set():
            raise JobCancelledError


class Link:
    """The connection to the worker. A thread reads it, so that a stop arrives during a computation."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._keeper = os.getppid()
        self._replies: queue.Queue[protocol.Reply] = queue.Queue()
        # Code that the interpreter calls at any moment, such as `__del__`, may print during a send.
        self._send_lock = threading.RLock()
        self._request_lock = threading.Lock()
        self.stopping = threading.Event()

    def receive(self) -> None:
        """Receive messages until the worker closes the connection; then end this process with its keeper."""
        pieces = Pieces()
        # A worker that dies with unread messages resets the connection.
        with contextlib.suppress(ConnectionError):
            while (received := protocol.receive_in_child(self._connection)) is not None:
                message = pieces.join(received)
                if isinstance(message, protocol.Stop):
                    self.stopping.set()
                elif isinstance(message, protocol.Reply):
                    self._replies.put(message)
        self.end()

    def end(self) -> None:
        """End this process and all that it has started, because the worker is gone."""
        if os.getppid() == self._keeper:
            os.kill(self._keeper, signal.SIGTERM)
        else:
            os.killpg(0, signal.SIGKILL)

    def send(self, message: protocol.ToWorker) -> None:
        with self._send_lock:
            for part in cut(message):
                self._connection.sendall(protocol.encode(part))

    def send_log(self, message: str, level: str, fields: Mapping[str, Any]) -> None:
        """Send a printed or logged line; without the worker it is lost."""
        with contextlib.suppress(OSError):
            self.send(_log_message(message, level, fields))

    def request(self, message: protocol.Request) -> Any:
        """Send a request and return the value of its reply.

        Raises:
            JobCancelledError: the step must end now.
            PermanentError: the worker refuses the request.
            OSError: the file to save cannot be read; with the worker's error number.
        """
        with self._request_lock:
            self.send(message)
            reply = self._replies.get()
        if reply.stopped:
            raise JobCancelledError
        if reply.problem is None:
            return reply.value
        if reply.errno is None:
            raise PermanentError(reply.problem, code=reply.code)
        raise OSError(reply.errno, reply.problem) if reply.errno else OSError(reply.problem)


def _log_message(message: str, level: str, fields: Mapping[str, Any]) -> protocol.WriteLog:
    text = str(message)[:_MAX_LOG_CHARACTERS].encode("utf-8", "replace").decode()
    return protocol.WriteLog(text, str(level), msgspec.json.encode(plain_fields(fields)).decode())


def execute(run: protocol.RunStep, link: Link) -> protocol.Done | protocol.Failed:
    """Load the pipeline, run the step and return the last message to the worker."""
    try:
        pipeline = _load_pipeline(run)
        node = pipeline.nodes[run.step]
        params = pipeline.decode_params(run.params)
        context = ChildContext(run, pipeline, params, link)
        items = () if run.item is None else (node.decode_item(run.item),)
        link.send(protocol.Entered())
        value = node.step.function(context, *items)
        output = encode_output(node, run.key, value, run.max_output_bytes)
        return protocol.Done(output)
    except JobCancelledError:
        return protocol.Failed("stopped", "stopped", "the step stopped")
    except RetryableError as error:
        return protocol.Failed("retryable", "step_failed", error_text(error), "", error.retry_after_seconds)
    except (PermanentError, OutputError) as error:
        return protocol.Failed("permanent", plain_text(str(error.code), 64), error_text(error))
    except BaseException as error:  # noqa: BLE001  (the worker decides on a retry)
        text = named_error(error)
        trace = plain_text(format_author_traceback(error)[-16_000:], _MAX_TRACEBACK_BYTES)
        return protocol.Failed("error", "step_failed", text[:4000], trace)


def main() -> None:
    """Run the step that the worker names on a socket. Arguments: its descriptor, and the worker's id."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    run_step = partial(serve, connection, logs_are_configured=False)
    run_kept(run_step, parent=int(sys.argv[2]), close=connection.close)


def serve(connection: socket.socket, *, logs_are_configured: bool) -> None:
    """Run the step that the worker names on *connection*, and return when its result is sent.

    If logs are configured already, modules may have added handlers of their own, as in the worker.
    The interpreter then exits as usual: it waits for threads and calls what the step has registered for its
    end, until the worker's patience is over.
    """
    run = _receive_step(connection)
    if run is None:
        return
    prefer_oom_kill()
    if not logs_are_configured:
        configure_logging(run.log_level, as_json=run.logs_json, secrets=run.secrets, stream=bounded_stderr())
    name_process(RunningJob(run.job_id, run.request_id, run.attempt), run.key, _trace_id(run))
    tracing = None if run.traceparent is None else continue_trace(run.traceparent)
    link = Link(connection)
    threading.Thread(target=link.receive, name="headrace-link", daemon=True).start()
    log = StepLog(link.send_log, run.step_log_level)
    with captured_output(run.step_log_level, log), log:
        last_message = execute(run, link)
    if tracing is not None:
        tracing.close(_TRACE_SECONDS)
    for stream in (sys.stdout, sys.stderr):
        # The step may have closed or replaced the stream.
        with contextlib.suppress(Exception):
            stream.flush()
    try:
        link.send(last_message)
    except ConnectionError:
        link.end()


def _trace_id(run: protocol.RunStep) -> str | None:
    return None if run.traceparent is None else run.traceparent.split("-")[1]


def _receive_step(connection: socket.socket) -> protocol.RunStep | None:
    pieces = Pieces()
    while (received := protocol.receive_in_child(connection)) is not None:
        if (message := pieces.join(received)) is not None:
            return message if isinstance(message, protocol.RunStep) else None
    return None


def _load_pipeline(run: protocol.RunStep) -> Pipeline:
    name_and_version = (run.pipeline, run.version)
    return next(
        pipeline
        for pipeline in pipelines_in(load_with_path(run.source, run.import_path))
        if (pipeline.name, pipeline.version) == name_and_version
    )


if __name__ == "__main__":
    main()
