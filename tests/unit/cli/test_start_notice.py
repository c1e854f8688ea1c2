"""Commands wait for a service that `up` is just starting in their data folder, and for no other."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from headrace.adapters.file_lock import FileLock
from headrace.cli import data_dir_lock
from headrace.cli.api_client import ApiClient
from headrace.cli.data_dir_lock import DataDirLock
from headrace.cli.errors import UnreachableError
from headrace.cli.start_notice import announce_start, is_starting, wait_while_starting, withdraw_start
from support.patience import PATIENCE_SECONDS

URL = "http://127.0.0.1:9"  # no service listens there


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Path]:
    """Return a data folder in which an `up` is starting a service at `URL`."""
    with DataDirLock(tmp_path):
        announce_start(tmp_path, URL)
        yield tmp_path


def become_ready_at_the_first_poll(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: withdraw_start(data_dir))
    monkeypatch.setattr("headrace.cli.start_notice.time", clock)


def test_a_service_is_starting_from_its_announcement_until_it_is_ready(starting: Path) -> None:
    assert is_starting(URL, starting)
    assert is_starting("http://localhost:9", starting)

    withdraw_start(starting)

    assert not is_starting(URL, starting)


def test_a_service_at_another_port_is_another(starting: Path) -> None:
    assert not is_starting("http://127.0.0.1:10", starting)
    assert not is_starting("http://127.0.0.1", starting)


def test_the_notice_of_an_up_that_was_killed_does_not_count(tmp_path: Path) -> None:
    announce_start(tmp_path, URL)

    assert not is_starting(URL, tmp_path)
    assert not is_starting(URL, tmp_path / "nothing")


def test_a_command_says_once_that_it_waits_and_goes_on_when_the_service_is_ready(
    starting: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become_ready_at_the_first_poll(starting, monkeypatch)

    wait_while_starting(URL, starting, seconds=PATIENCE_SECONDS)

    assert not is_starting(URL, starting)
    assert capsys.readouterr().err == f"headrace: the service at {URL} is starting; waiting for it\n"


def test_a_command_gives_up_waiting_at_its_limit(starting: Path) -> None:
    wait_while_starting(URL, starting, seconds=0.1)

    assert is_starting(URL, starting)


def test_a_command_of_a_folder_without_a_start_is_answered_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path))

    with pytest.raises(UnreachableError, match=f"no service at {URL}"):
        ApiClient(URL, None).get("/jobs")

    assert capsys.readouterr().err == ""


def test_a_client_waits_for_the_start_that_its_data_folder_announces(
    starting: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(starting))
    become_ready_at_the_first_poll(starting, monkeypatch)

    ApiClient(URL, None)

    assert not is_starting(URL, starting)
    assert "is starting; waiting for it" in capsys.readouterr().err


def test_a_service_on_another_machine_is_not_waited_for(
    starting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(starting))

    ApiClient("http://192.0.2.1:9", None)

    assert is_starting(URL, starting)


def test_an_up_starts_although_a_command_looks_whether_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look holds the lock for a moment."""
    monkeypatch.setattr(data_dir_lock, "_LOCK_SECONDS", PATIENCE_SECONDS)
    looking = FileLock(tmp_path / "up.lock")
    done = threading.Timer(0.05, looking.release)
    done.start()

    with DataDirLock(tmp_path):
        done.join()
