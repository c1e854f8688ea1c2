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


def test_a_message_is_its_length_in_four_bytes_and_then_itself() -> None:
    assert protocol.encode(protocol.Stop()) == b"\x00\x00\x00\x0b\x81\xa4type\xa4stop"


@given(TO_CHILD | TO_WORKER)
def test_a_length_is_that_of_what_follows(message: protocol.ToChild | protocol.ToWorker) -> None:
    frame = protocol.encode(message)

    assert frame == framed(body_of(frame))


@given(TO_WORKER)
def test_a_worker_reads_what_a_child_has_written(message: protocol.ToWorker) -> None:
    assert protocol.decode_for_worker(body_of(protocol.encode(message))) == message


@given(st.lists(TO_CHILD, max_size=4), st.integers(min_value=1, max_value=40))
def test_a_child_reads_what_a_worker_has_written_however_it_is_cut_on_the_way(
    messages: list[protocol.ToChild], piece: int
) -> None:
    link = Stream(b"".join(map(protocol.encode, messages)), piece)

    assert [link.receive() for _ in messages] == messages
    assert link.receive() is None


def test_messages_travel_through_a_real_socket() -> None:
    worker, child = socket.socketpair()
    with worker, child:
        worker.sendall(protocol.encode(STEP) + protocol.encode(protocol.Stop()))
        worker.close()

        assert protocol.receive_in_child(child) == STEP
        assert protocol.receive_in_child(child) == protocol.Stop()
        assert protocol.receive_in_child(child) is None


@given(TO_CHILD, st.data())
def test_a_worker_that_goes_within_a_message_is_gone(message: protocol.ToChild, data: st.DataObject) -> None:
    frame = protocol.encode(message)
    cut = data.draw(st.integers(min_value=0, max_value=len(frame) - 1))

    assert Stream(frame[:cut]).receive() is None


def test_of_a_message_nothing_of_the_next_is_read() -> None:
    following = protocol.encode(protocol.Stop())
    link = Stream(protocol.encode(STEP) + following)

    link.receive()

    assert link.left == following


def test_a_large_message_is_received_a_mebibyte_at_a_time() -> None:
    answer = protocol.Reply("x" * (2 * 1024 * 1024))
    link = Stream(protocol.encode(answer))

    assert link.receive() == answer
    assert max(link.counts) == 1024 * 1024


def test_a_connection_that_is_reset_is_an_error_of_the_connection() -> None:
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
    packed(type="order", source="only"),
    packed(type="answer", stopped="yes"),
    packed(type="answer", problem=3),
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
def test_a_child_refuses_what_is_no_message_to_it(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        Stream(framed(body)).receive()


@pytest.mark.parametrize("body", BROKEN_FOR_WORKER)
def test_a_worker_refuses_what_is_no_message_to_it(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        protocol.decode_for_worker(body)


def test_what_need_not_be_said_has_a_plain_meaning() -> None:
    assert Stream(framed(packed(type="answer"))).receive() == protocol.Reply(None, None, "", False)
    assert protocol.decode_for_worker(
        packed(type="failed", kind="error", code="c", message="m")
    ) == protocol.Failed("error", "c", "m", "", None)


@pytest.mark.parametrize(
    ("message", "tag"),
    [
        (STEP, "order"),
        (protocol.Stop(), "stop"),
        (protocol.Reply(), "answer"),
        (protocol.ReportProgress(1, 2, None), "progress"),
        (protocol.WriteLog("m", "info", "{}"), "log"),
        (protocol.SaveFile("n", "p", "m"), "save_file"),
        (protocol.GetFilePath("f"), "find_file"),
        (protocol.GetOutput("s"), "output"),
        (protocol.Done("null"), "done"),
        (protocol.Failed("error", "c", "m"), "failed"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_each_message_names_its_kind(message: protocol.ToChild | protocol.ToWorker, tag: str) -> None:
    assert msgspec.msgpack.decode(body_of(protocol.encode(message)))["type"] == tag
