"""The messages between a worker and the child process of a step: their form and their transport."""

import socket
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.workers.child import protocol

STEP = protocol.RunStep(
    source="headrace.pipelines.samples",
    pipeline="render",
    version=2,
    step="mix",
    params='{"a":1}',
    item=None,
    job_id=UUID(int=7),
    attempt=3,
    scratch="/tmp/scratch",  # noqa: S108
    max_output_bytes=1_024,
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.floats(allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
TO_CHILD: st.SearchStrategy[protocol.ToChild] = st.one_of(
    st.builds(
        protocol.RunStep,
        source=TEXTS,
        pipeline=TEXTS,
        version=st.integers(1, 2**31),
        step=TEXTS,
        params=TEXTS,
        item=st.none() | TEXTS,
        job_id=st.uuids(),
        attempt=st.integers(1, 2**31),
        scratch=TEXTS,
        max_output_bytes=st.integers(1, 2**40),
    ),
    st.just(protocol.Stop()),
    st.builds(protocol.Reply, value=JSON, problem=st.none() | TEXTS, code=TEXTS, stopped=st.booleans()),
)
TO_WORKER: st.SearchStrategy[protocol.ToWorker] = st.one_of(
    st.builds(protocol.ReportProgress, done=NUMBERS, total=NUMBERS, message=st.none() | TEXTS),
    st.builds(protocol.WriteLog, message=TEXTS, level=TEXTS, fields=TEXTS),
    st.builds(protocol.SaveFile, name=TEXTS, path=TEXTS, media_type=TEXTS),
    st.builds(protocol.GetFilePath, file_id=TEXTS),
    st.builds(protocol.GetOutput, step=TEXTS),
    st.builds(protocol.Done, output=TEXTS),
    st.builds(
        protocol.Failed,
        kind=TEXTS,
        code=TEXTS,
        message=TEXTS,
        traceback=TEXTS,
        retry_after_seconds=st.none() | NUMBERS,
    ),
)


class Stream:
    """A socket that delivers *content* in pieces of at most *piece* bytes, and then ends."""

    def __init__(self, content: bytes, piece: int = 1 << 30) -> None:
        self._content = content
        self._piece = piece
        self.counts: list[int] = []

    def recv(self, count: int) -> bytes:
        self.counts.append(count)
        part = self._content[: min(count, self._piece)]
        self._content = self._content[len(part) :]
        return part

    @property
    def left(self) -> bytes:
        return self._content

    def receive(self) -> protocol.ToChild | None:
        return protocol.receive_in_child(cast(socket.socket, self))


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def body_of(frame: bytes) -> bytes:
    return frame[4:]


def packed(**fields: Any) -> bytes:
    return msgspec.msgpack.encode(fields)


def test_a_frame_is_a_length_of_four_bytes_and_the_message() -> None:
    assert protocol.encode(protocol.Stop()) == b"\x00\x00\x00\x0b\x81\xa4type\xa4stop"


@given(TO_CHILD | TO_WORKER)
def test_the_length_of_a_frame_matches_its_message(message: protocol.ToChild | protocol.ToWorker) -> None:
    frame = protocol.encode(message)

    assert frame == framed(body_of(frame))


@given(TO_WORKER)
def test_a_worker_decodes_the_messages_of_a_child(message: protocol.ToWorker) -> None:
    assert protocol.decode_for_worker(body_of(protocol.encode(message))) == message


@given(st.lists(TO_CHILD, max_size=4), st.integers(min_value=1, max_value=40))
def test_a_child_decodes_the_messages_of_a_worker_from_pieces_of_any_size(
    messages: list[protocol.ToChild], piece: int
) -> None:
    link = Stream(b"".join(map(protocol.encode, messages)), piece)

    assert [link.receive() for _ in messages] == messages
    assert link.receive() is None


def test_messages_pass_through_a_real_socket() -> None:
    worker, child = socket.socketpair()
    with worker, child:
        worker.sendall(protocol.encode(STEP) + protocol.encode(protocol.Stop()))
        worker.close()

        assert protocol.receive_in_child(child) == STEP
        assert protocol.receive_in_child(child) == protocol.Stop()
        assert protocol.receive_in_child(child) is None


@given(TO_CHILD, st.data())
def test_a_message_that_breaks_off_counts_as_the_end_of_the_connection(
    message: protocol.ToChild, data: st.DataObject
) -> None:
    frame = protocol.encode(message)
    cut = data.draw(st.integers(min_value=0, max_value=len(frame) - 1))

    assert Stream(frame[:cut]).receive() is None


def test_receiving_a_message_leaves_the_next_one_unread() -> None:
    following = protocol.encode(protocol.Stop())
    link = Stream(protocol.encode(STEP) + following)

    link.receive()

    assert link.left == following


def test_a_large_message_is_received_a_mebibyte_at_a_time() -> None:
    reply = protocol.Reply("x" * (2 * 1024 * 1024))
    link = Stream(protocol.encode(reply))

    assert link.receive() == reply
    assert max(link.counts) == 1024 * 1024


def test_a_reset_connection_raises_its_error() -> None:
    class Reset(Stream):
        def recv(self, _count: int) -> bytes:
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        Reset(b"").receive()


BROKEN = [
    b"",
    b"\xc1",
    b"no message",
    packed(type="stop")[:-1],
    packed(type="stop") + b"\x00",
    packed(),
    packed(type="unheard_of"),
    packed(type=1),
    msgspec.msgpack.encode([1, 2]),
]
BROKEN_FOR_CHILD = [
    *BROKEN,
    packed(type="run_step", source="only"),
    packed(type="reply", stopped="yes"),
    packed(type="reply", problem=3),
    body_of(protocol.encode(protocol.Done("null"))),
]
BROKEN_FOR_WORKER = [
    *BROKEN,
    packed(type="done"),
    packed(type="done", output=None),
    packed(type="progress", done="half", total=1, message=None),
    packed(type="failed", kind="error", code="c"),
    body_of(protocol.encode(protocol.Stop())),
    body_of(protocol.encode(protocol.Reply(1))),
    body_of(protocol.encode(STEP)),
]


@pytest.mark.parametrize("body", BROKEN_FOR_CHILD)
def test_a_child_refuses_malformed_and_foreign_messages(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        Stream(framed(body)).receive()


@pytest.mark.parametrize("body", BROKEN_FOR_WORKER)
def test_a_worker_refuses_malformed_and_foreign_messages(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        protocol.decode_for_worker(body)


def test_optional_fields_have_defaults() -> None:
    assert Stream(framed(packed(type="reply"))).receive() == protocol.Reply(None, None, "", False)
    assert protocol.decode_for_worker(
        packed(type="failed", kind="error", code="c", message="m")
    ) == protocol.Failed("error", "c", "m", "", None)


@pytest.mark.parametrize(
    ("message", "tag"),
    [
        (STEP, "run_step"),
        (protocol.Piece("t"), "piece"),
        (protocol.Stop(), "stop"),
        (protocol.Reply(), "reply"),
        (protocol.ReportProgress(1, 2, None), "progress"),
        (protocol.WriteLog("m", "info", "{}"), "log"),
        (protocol.SaveFile("n", "p", "m"), "save_file"),
        (protocol.GetFilePath("f"), "get_file_path"),
        (protocol.GetOutput("s"), "get_output"),
        (protocol.Done("null"), "done"),
        (protocol.Failed("error", "c", "m"), "failed"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_each_message_has_its_type_tag(message: protocol.ToChild | protocol.ToWorker, tag: str) -> None:
    assert msgspec.msgpack.decode(body_of(protocol.encode(message)))["type"] == tag
