"""Frames as the Python client decodes them, also those of a newer service."""

from uuid import UUID

import msgspec
import pytest

from headrace_client import LogWritten, StepStarted, UnknownEvent, UnknownFrame
from headrace_client.frames import read_frame, split

JOB = "01a1fcda-1222-71e3-b3dd-702451ba443d"
HEADER = f'"job_id":"{JOB}","seq":3,"at":"2026-11-21T06:30:00Z"'


def test_a_known_event_is_decoded_into_its_struct() -> None:
    raw = f'{{"type":"step.started",{HEADER},"step":"render","index":2,"attempt":1,"new":true}}'.encode()

    event = read_frame(raw)

    assert isinstance(event, StepStarted)
    assert (event.type, event.seq, event.job_id, event.step) == ("step.started", 3, UUID(JOB), "render")


def test_an_unknown_event_keeps_its_number_and_its_body() -> None:
    event = read_frame(f'{{"type":"job.praised",{HEADER},"by":"somebody"}}'.encode())

    assert isinstance(event, UnknownEvent)
    assert (event.type, event.seq, event.body["by"]) == ("job.praised", 3, "somebody")


def test_a_malformed_known_event_is_decoded_as_unknown() -> None:
    event = read_frame(f'{{"type":"log",{HEADER},"level":1,"message":[]}}'.encode())

    assert not isinstance(event, LogWritten)
    assert (event.type, isinstance(event, UnknownEvent)) == ("log", True)


def test_an_unknown_frame_keeps_its_type_and_its_body() -> None:
    frame = read_frame(b'{"type":"weather","degrees":21.5}')

    assert frame == UnknownFrame(kind="weather", body={"type": "weather", "degrees": 21.5})


@pytest.mark.parametrize("raw", [b"", b"{", b"1", b"[]", b"{}", b"<html>", b'{"type":1}'])
def test_malformed_frames_are_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_frame(raw)


def test_a_message_is_split_into_frames_that_keep_their_bytes() -> None:
    raw_frame = b'{"type":"log",  "seq":1}'

    assert [bytes(raw) for raw in split(raw_frame)] == [raw_frame]
    assert [bytes(raw) for raw in split(b"[" + raw_frame + b" ," + raw_frame + b"]")] == [
        raw_frame,
        raw_frame,
    ]
