"""Refused requests: what is logged of them."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from headrace.api.server.refusals import RefusalLog


class Timers:
    """The timers of a loop, which a test calls."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], None]] = []

    def call_later(self, _seconds: float, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def end_minute(self) -> None:
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()


def test_refused_requests_are_logged_at_once_and_then_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = Timers()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: timers)
    log = RefusalLog()

    with capture_logs() as lines:
        for _ in range(5):
            log.count("malformed")
        log.count("head_too_large")
        in_first_minute = len(lines)
        timers.end_minute()
        timers.end_minute()
        log.count("malformed")

    assert in_first_minute == 1
    assert [{name: line[name] for name in line.keys() - {"event", "log_level"}} for line in lines] == [
        {"malformed": 1},
        {"malformed": 4, "head_too_large": 1},
        {"malformed": 1},
    ]
    assert {line["event"] for line in lines} == {"requests_refused"}
