"""Messages are believed only if this installation has signed them for their channel."""

import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from structlog.testing import capture_logs

from headrace.adapters import messages
from headrace.adapters.messages import (
    EventsMessage,
    Message,
    MessageRefusedError,
    MessageSigner,
    ProgressMessage,
    RefusedMessages,
    SummariesMessage,
)
from headrace.domain.events.encoding import LoggedEvent
from headrace.domain.events.news import JobSummary

SIGNER = MessageSigner("a secret")
SUMMARY = JobSummary(job_id=uuid4(), head=3, state="running", progress=0.5, pipeline="noop")
MESSAGES: list[Message] = [
    EventsMessage([LoggedEvent(1, "log", b"{}"), LoggedEvent(2, "job.succeeded", b"{}")]),
    ProgressMessage(1, 2, 0.5, b'{"type":"progress"}'),
    SummariesMessage(datetime(2026, 1, 1, tzinfo=UTC), [SUMMARY]),
]


def signed(*fields: Any) -> bytes:
    """Return a message of any form with a valid signature for the channel `c`."""
    raw = msgspec.msgpack.encode([*fields, bytes(16)])
    return raw[:-16] + SIGNER._sign("c", raw[:-16])


@pytest.mark.parametrize("message", MESSAGES)
def test_a_signed_message_is_read_on_its_channel_and_on_no_other(message: Message) -> None:
    raw = SIGNER.encode("c", message)

    decoded = SIGNER.decode("c", raw)

    assert msgspec.structs.replace(decoded, signature=bytes(16)) == message
    with pytest.raises(MessageRefusedError, match="not signed"):
        SIGNER.decode("d", raw)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_with_another_key_or_another_byte_is_refused(message: Message) -> None:
    raw = SIGNER.encode("c", message)
    changed = [raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :] for place in range(len(raw))]
    cut = [raw[:length] for length in range(len(raw))]

    for forged in (MessageSigner("another").encode("c", message), *changed, *cut, raw + b"\0"):
        with pytest.raises(MessageRefusedError, match="not signed"):
            SIGNER.decode("c", forged)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        msgspec.msgpack.encode(["e", [[1, "job.succeeded", b"{}"]]]),  # as the previous release sends it
        msgspec.msgpack.encode(MESSAGES[0]),
        msgspec.json.encode([SUMMARY]),
    ],
)
def test_an_unsigned_message_is_refused(raw: bytes) -> None:
    with pytest.raises(MessageRefusedError, match="not signed"):
        SIGNER.decode("c", raw)


@pytest.mark.parametrize("raw", [signed("x", 1), signed("e"), signed("e", [[1, 2, 3]]), signed("p", "first")])
def test_a_signed_message_of_a_form_that_only_another_release_knows_is_refused(raw: bytes) -> None:
    with pytest.raises(MessageRefusedError, match="unknown form"):
        SIGNER.decode("c", raw)


@pytest.mark.parametrize("raw", [None, 7, [b"x"], "text"])
def test_what_is_no_bytes_is_refused(raw: object) -> None:
    with pytest.raises(MessageRefusedError, match="no bytes"):
        SIGNER.decode("c", raw)


def test_fields_and_states_that_only_a_newer_release_knows_are_accepted() -> None:
    event = {"seq": 1, "type": "job.waiting", "frame": b'{"type":"job.waiting"}', "more": 1}
    summary = msgspec.to_builtins(SUMMARY) | {"state": "waiting", "more": 1}

    events = SIGNER.decode("c", signed("e", [event], {"more": 1}))
    summaries = SIGNER.decode("c", signed("s", datetime(2026, 1, 1, tzinfo=UTC), [summary], 1.5))

    assert isinstance(events, EventsMessage)
    assert events.events[0].type == "job.waiting"
    assert isinstance(summaries, SummariesMessage)
    assert summaries.summaries[0].state == "waiting"


def test_a_message_that_is_too_large_is_refused_before_its_signature_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = SIGNER.encode("c", MESSAGES[0])
    monkeypatch.setattr(messages, "MAX_MESSAGE_BYTES", len(raw) - 1)
    monkeypatch.setattr(MessageSigner, "_sign", None)

    with pytest.raises(MessageRefusedError, match="too large"):
        SIGNER.decode("c", raw)


def test_refused_messages_are_counted_and_logged_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    refused = RefusedMessages()
    before = refused.is_refusing
    with capture_logs() as lines:
        for clock.now in (1000.0, 1001.0, 1030.0, 1059.9, 1060.0):
            refused.add("c", "not signed")
    during = refused.is_refusing
    clock.now += 10.0

    assert refused.count == 5
    assert (before, during, refused.is_refusing) == (False, True, False)
    assert [(line["event"], line["count"]) for line in lines] == [
        ("redis_messages_refused", 1),
        ("redis_messages_refused", 4),
    ]
