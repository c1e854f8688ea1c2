"""The messages between a worker and the child process that runs one step, and how they travel."""

import socket
import struct
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct

HEADER: Final = struct.Struct(">I")
MAX_MESSAGE: Final = 32 * 1024 * 1024


class RunStep(Struct, tag="order", frozen=True):
    """Run this step. JSON values are texts."""

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


class Stop(Struct, tag="stop", frozen=True):
    """End soon: the job is to be cancelled, or this try is out of time."""


class Reply(Struct, tag="answer", frozen=True):
    """What came of a question. *problem*: a `PermanentError` with *code*; *stopped*: leave now."""

    value: Any = None
    problem: str | None = None
    code: str = ""
    stopped: bool = False


class Report(Struct, tag="progress", frozen=True):
    done: float
    total: float
    message: str | None


class Line(Struct, tag="log", frozen=True):
    """*fields* is a JSON object."""

    message: str
    level: str
    fields: str


class SaveFile(Struct, tag="save_file", frozen=True):
    """A question; answered with the file's id."""

    name: str
    path: str
    media_type: str


class FindFile(Struct, tag="find_file", frozen=True):
    """A question; answered with the path of the bytes."""

    file_id: str


class AskOutput(Struct, tag="output", frozen=True):
    """A question; answered with the JSON of an earlier step's output."""

    step: str


class Done(Struct, tag="done", frozen=True):
    output: str


class Failed(Struct, tag="failed", frozen=True):
    """The step raised. *kind*: `retryable`, `permanent`, `stopped` or `error`."""

    kind: str
    code: str
    message: str
    traceback: str = ""
    retry_after_seconds: float | None = None


ToChild = RunStep | Stop | Reply
ToWorker = Report | Line | SaveFile | FindFile | AskOutput | Done | Failed

_encoder: Final = msgspec.msgpack.Encoder()
_to_child: Final = msgspec.msgpack.Decoder(ToChild)
_to_worker: Final = msgspec.msgpack.Decoder(ToWorker)


def encode(message: ToChild | ToWorker) -> bytes:
    body = _encoder.encode(message)
    return HEADER.pack(len(body)) + body


def decode_for_worker(body: bytes) -> ToWorker:
    message: ToWorker = _to_worker.decode(body)
    return message


def receive_in_child(link: socket.socket) -> ToChild | None:
    """The next message of the worker; None when the worker is gone."""
    header = _exactly(link, HEADER.size)
    if header is None:
        return None
    body = _exactly(link, HEADER.unpack(header)[0])
    return None if body is None else _to_child.decode(body)


def _exactly(link: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = link.recv(min(count - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)
