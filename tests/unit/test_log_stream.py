"""Log lines never hold up or fail the code that logs, whatever becomes of standard error."""

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.adapters import log_stream
from headrace.adapters.log_stream import MAX_WAITING_LINES, BoundedStream, LogHandler, PatientStream
from support.patience import PATIENCE_SECONDS

LINE = "x" * 999 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def read_all(descriptor: int, until: bytes) -> bytes:
    received = bytearray()
    while until not in received:
        received += os.read(descriptor, 1 << 16)
    return bytes(received)


def test_a_reader_that_does_not_read_holds_nobody_up(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    stream = PatientStream(writer)

    done = threading.Event()

    def flood() -> None:
        for _ in range(2 * MAX_WAITING_LINES):
            stream.write(LINE)
        done.set()

    threading.Thread(target=flood, daemon=True).start()
    assert done.wait(PATIENCE_SECONDS)
    reading = threading.Thread(target=lambda: received.append(read_all(reader, b"the end\n")), daemon=True)
    received: list[bytes] = []
    reading.start()
    while stream._lines.qsize():
        stream.drain(1)
    stream.write("the end\n")
    reading.join(PATIENCE_SECONDS)

    *lines, last = received[0].decode().splitlines(keepends=True)
    dropped = sum(int(line.split()[0]) for line in lines if line != LINE)
    assert last == "the end\n"
    assert dropped > 0
    assert lines.count(LINE) + dropped == 2 * MAX_WAITING_LINES


def test_a_closed_reader_and_a_closed_descriptor_raise_nothing(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    stream = PatientStream(writer)
    os.close(reader)

    stream.write(LINE)
    stream.drain()
    os.close(writer)
    stream.write(LINE)
    stream.drain()

    assert stream._lines.qsize() == 0


def test_a_process_of_steps_waits_once_for_a_reader_and_then_drops(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = pipe
    monkeypatch.setattr(log_stream, "_MAX_WAIT_SECONDS", 0.01)
    stream = BoundedStream(writer)

    for _ in range(300):
        stream.write(LINE)
    received = os.read(reader, 1 << 20).decode()
    stream.write("again\n")

    assert set(received.splitlines(keepends=True)[:-1]) == {LINE}
    assert os.read(reader, 1 << 20).decode().endswith("again\n")
    os.close(reader)
    stream.write(LINE)


def test_a_file_has_each_line_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with path.open("wb") as file:
        PatientStream(file.fileno()).write("now\n")

        assert path.read_text() == "now\n"


def test_a_handler_drops_a_line_for_a_closed_stream(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = (tmp_path / "closed").open("w")
    stream.close()

    LogHandler(stream).handle(logging.makeLogRecord({"msg": "lost", "levelno": 40}))
    LogHandler().handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",), "levelno": 40}))

    assert "lost" not in (errors := capfd.readouterr().err)
    assert "TypeError" in errors
