"""A worker obeys the signals that its parent has noted, and ignores all others."""

import os
import signal
from pathlib import Path
from signal import SIGINT, SIGTERM

import pytest

from headrace.workers.stop_requests import StopRequests, note_stop


@pytest.fixture
def crash_record(tmp_path: Path) -> Path:
    return tmp_path / "worker.crash"


def test_only_a_signal_that_was_noted_counts(crash_record: Path) -> None:
    obeyed: list[signal.Signals] = []
    requests = StopRequests(crash_record, obeyed.append)

    requests.on_signal(SIGTERM)
    before = list(obeyed)
    note_stop(crash_record)
    requests.on_signal(SIGINT)

    assert (before, obeyed) == ([], [SIGINT])


def test_a_note_for_an_earlier_worker_does_not_count(crash_record: Path) -> None:
    obeyed: list[signal.Signals] = []
    note_stop(crash_record)

    StopRequests(crash_record, obeyed.append).on_signal(SIGTERM)

    assert obeyed == []


def test_every_signal_counts_without_a_crash_record() -> None:
    obeyed: list[signal.Signals] = []

    StopRequests(None, obeyed.append).on_signal(SIGTERM)

    assert obeyed == [SIGTERM]


def test_every_signal_counts_once_the_parent_has_ended(
    crash_record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obeyed: list[signal.Signals] = []
    requests = StopRequests(crash_record, obeyed.append)
    monkeypatch.setattr(os, "getppid", lambda: 1)

    requests.on_signal(SIGTERM)

    assert obeyed == [SIGTERM]


def test_a_note_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    obeyed: list[signal.Signals] = []
    gone = tmp_path / "gone" / "worker.crash"
    requests = StopRequests(gone, obeyed.append)

    note_stop(gone)
    requests.on_signal(SIGTERM)

    assert obeyed == []
