"""A child process: it runs one step and ends. Started by `child_process` with one socket to the worker."""

import contextlib
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID, uuid4

import msgspec

from headrace.domain.pipelines.context import JobCancelledError, PermanentError, RetryableError
from headrace.domain.pipelines.definition import Pipeline, StepHandle
from headrace.domain.pipelines.loading import load, pipelines_in
from headrace.workers.attempt.values import (
    OutputError,
    bytes_or_path,
    encode_value,
    plain_fields,
    plain_text,
    said_by,
)
from headrace.workers.child import protocol as wire
from headrace.workers.child.oom import prefer_oom_kill


class ChildContext:
    """`headrace.domain.pipelines.context.StepContext` over the socket."""

    def __init__(self, order: wire.RunStep, pipeline: Pipeline, params: Any, link: "Link") -> None:
        self._pipeline = pipeline
        self._link = link
        self.params = params
        self.job_id = order.job_id
        self.attempt = order.attempt
        self.scratch = Path(order.scratch)

    def output(self, step: StepHandle) -> Any:
        return self._pipeline.decode_output(step, self._link.ask(wire.AskOutput(step.name)))

    def progress(self, done: float, total: float, message: str | None = None) -> None:
        self._link.tell(
            wire.Report(float(done), float(total), None if message is None else plain_text(str(message), 500))
        )

    def log(self, message: str, level: str = "info", **fields: Any) -> None:
        text = str(message)[: 16 * 1024].encode("utf-8", "replace").decode()
        self._link.tell(wire.Line(text, str(level), msgspec.json.encode(plain_fields(fields)).decode()))

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
        return UUID(self._link.ask(wire.SaveFile(str(name), str(path), str(media_type))))

    def open_file(self, file_id: UUID | str) -> BinaryIO:
        return Path(self._link.ask(wire.FindFile(str(file_id)))).open("rb")

    def raise_if_cancelled(self) -> None:
        if self._link.stopping.is_set():
            raise JobCancelledError


class Link:
    """The socket to the worker. One thread reads it, so that a stop is heard while the step computes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._answers: queue.Queue[wire.Reply] = queue.Queue()
        self._writing = threading.Lock()
        self._asking = threading.Lock()
        self.stopping = threading.Event()

    def listen(self) -> None:
        """Read until the worker is gone; a child without a worker has nobody to work for."""
        # Reset instead of closed: the worker has died with something of ours unread.
        with contextlib.suppress(ConnectionError):
            while (message := wire.receive_in_child(self._connection)) is not None:
                if isinstance(message, wire.Stop):
                    self.stopping.set()
                elif isinstance(message, wire.Reply):
                    self._answers.put(message)
        # We lead a process group: what the step has started ends with us.
        os.killpg(0, signal.SIGKILL)

    def tell(self, message: wire.ToWorker) -> None:
        with self._writing:
            self._connection.sendall(wire.encode(message))

    def ask(self, question: wire.ToWorker) -> Any:
        with self._asking:
            self.tell(question)
            answer = self._answers.get()
        if answer.stopped:
            raise JobCancelledError
        if answer.problem is not None:
            raise PermanentError(answer.problem, code=answer.code)
        return answer.value


def run(order: wire.RunStep, link: Link) -> wire.Done | wire.Failed:
    """Load the step's module, run the step, and say what came of it."""
    try:
        module = load(order.source)
        pipeline = next(
            one for one in pipelines_in(module) if (one.name, one.version) == (order.pipeline, order.version)
        )
        node = pipeline.nodes[order.step]
        params = pipeline.decode_params(order.params)
        context = ChildContext(order, pipeline, params, link)
        items = () if order.item is None else (node.decode_item(order.item),)
        value = node.step.function(context, *items)
        return wire.Done(encode_value(value, f"the output of step {node.name!r}", order.max_output_bytes))
    except JobCancelledError:
        return wire.Failed("stopped", "stopped", "the step stopped")
    except RetryableError as error:
        return wire.Failed("retryable", "step_failed", said_by(error), "", error.retry_after_seconds)
    except (PermanentError, OutputError) as error:
        return wire.Failed("permanent", plain_text(str(error.code), 64), said_by(error))
    except BaseException as error:  # noqa: BLE001  (the worker judges it)
        text = f"{type(error).__name__}: {said_by(error)}"
        return wire.Failed(
            "error", "step_failed", text[:4000], plain_text(traceback.format_exc()[-16_000:], 64_000)
        )


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    order = wire.receive_in_child(connection)
    if not isinstance(order, wire.RunStep):
        return
    prefer_oom_kill()
    link = Link(connection)
    threading.Thread(target=link.listen, name="headrace-link", daemon=True).start()
    outcome = run(order, link)
    for stream in (sys.stdout, sys.stderr):
        # The step may have closed it, or put anything in its place.
        with contextlib.suppress(Exception):
            stream.flush()
    link.tell(outcome)
    # Threads that the step left behind must not keep the child alive.
    os._exit(0)


if __name__ == "__main__":
    main()
