"""The messages between a worker and the child process that runs one step: msgpack behind a length."""

import socket
import struct
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct

HEADER: Final = struct.Struct(">I")
"""The length of the message that follows, in bytes."""
MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024
_MAX_RECEIVE_BYTES: Final = 1 << 20


class Piece(Struct, tag="piece", frozen=True):
    """A message without a reply: a part of the large text of a message that follows. See `pieces`."""

    text: str


class RunStep(Struct, tag="run_step", frozen=True):
    """The first message to a child: run this step. *params* and *item* are JSON.

    *key* names the step run, *import_path* the folders from which the worker imports modules. *secrets* must
    not appear in the logs. *traceparent*: the span of this try, if it is traced.
    """

    source: str
    pipeline: str
    version: int
    step: str
    params: str
    item: str | None
    job_id: UUID
    attempt: int
    scratch: str
    max_output_bytes: int
    import_path: tuple[str, ...] = ()
    key: str = ""
    log_level: str = "info"
    step_log_level: str = "info"
    logs_json: bool = False
    secrets: tuple[str, ...] = ()
    request_id: str | None = None
    traceparent: str | None = None


class Stop(Struct, tag="stop", frozen=True):
    """End soon: the job is to be cancelled, or this try has timed out."""


class Reply(Struct, tag="reply", frozen=True):
    """The reply to a request.

    *problem*: raise a `PermanentError` with *code*; *stopped*: end now. With *errno* the problem is an
    `OSError`, for 0 without a number.
    """

    value: Any = None
    problem: str | None = None
    code: str = ""
    stopped: bool = False
    errno: int | None = None


class Entered(Struct, tag="entered", frozen=True):
    """A message without a reply: the step's function is called next."""


class ReportProgress(Struct, tag="progress", frozen=True):
    """A message without a reply."""

    done: float
    total: float
    message: str | None


class WriteLog(Struct, tag="log", frozen=True):
    """A message without a reply. *fields* is a JSON object."""

    message: str
    level: str
    fields: str


class SaveFile(Struct, tag="save_file", frozen=True):
    """A request; the reply is the id of the file."""

    name: str
    path: str
    media_type: str


class GetFilePath(Struct, tag="get_file_path", frozen=True):
    """A request; the reply is the path of the file's bytes."""

    file_id: str


class GetOutput(Struct, tag="get_output", frozen=True):
    """A request; the reply is the output of an earlier step, as JSON."""

    step: str


class Done(Struct, tag="done", frozen=True):
    """The last message of a child whose step returned. *output* is JSON."""

    output: str


class Failed(Struct, tag="failed", frozen=True):
    """The last message of a child whose step raised.

    *kind* is `retryable`, `permanent`, `stopped` or `error`.
    """

    kind: str
    code: str
    message: str
    traceback: str = ""
    retry_after_seconds: float | None = None


ToChild = Piece | RunStep | Stop | Reply
Request = SaveFile | GetFilePath | GetOutput
ToWorker = Piece | Entered | ReportProgress | WriteLog | Request | Done | Failed

_encoder: Final = msgspec.msgpack.Encoder()
_to_child: Final = msgspec.msgpack.Decoder(ToChild)
_to_worker: Final = msgspec.msgpack.Decoder(ToWorker)


def encode(message: ToChild | ToWorker) -> bytes:
    body = _encoder.encode(message)
    return HEADER.pack(len(body)) + body


def decode_for_worker(body: bytes) -> ToWorker:
    message: ToWorker = _to_worker.decode(body)
    return message


def receive_in_child(connection: socket.socket) -> ToChild | None:
    """Return the worker's next message; None when the worker has closed the connection."""
    header = _receive_exactly(connection, HEADER.size)
    if header is None:
        return None
    body = _receive_exactly(connection, HEADER.unpack(header)[0])
    return None if body is None else _to_child.decode(body)


def _receive_exactly(connection: socket.socket, count: int) -> bytes | None:
    received = bytearray()
    while len(received) < count:
        chunk = connection.recv(min(count - len(received), _MAX_RECEIVE_BYTES))
        if not chunk:
            return None
        received += chunk
    return bytes(received)
