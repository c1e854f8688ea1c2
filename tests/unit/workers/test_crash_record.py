"""The crash record of a worker names the attempt that is to blame for its end."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from headrace.domain.jobs.attempts.claims import HeldLease
from headrace.workers.crash_record import CrashRecord, Death, read_death

FIRST: Final[HeldLease] = (UUID(int=1), 3)
SECOND: Final[HeldLease] = (UUID(int=2**127), 2**31)
THIRD: Final[HeldLease] = (UUID(int=3), 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker.crash"


def test_there_is_no_death_without_a_record(path: Path) -> None:
    assert read_death(path) is None


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 20])
def test_half_a_record_is_no_death(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    assert read_death(path) is None


def test_a_worker_that_runs_no_code_of_an_author_blames_nobody(path: Path) -> None:
    CrashRecord(path, "host-1-abc")

    assert read_death(path) == Death("host-1-abc", None)


def test_the_attempt_that_was_entered_last_and_still_runs_is_to_blame(path: Path) -> None:
    record = CrashRecord(path, "w")
    first, second, third = (record.enter(lease) for lease in (FIRST, SECOND, THIRD))
    blamed = [read_death(path)]
    for entry in (third, first, second):
        record.leave(entry)
        blamed.append(read_death(path))

    assert blamed == [Death("w", THIRD), Death("w", SECOND), Death("w", SECOND), Death("w", None)]


def test_an_attempt_that_enters_twice_is_left_once_for_each(path: Path) -> None:
    record = CrashRecord(path, "w")
    entries = [record.enter(FIRST), record.enter(FIRST)]

    record.leave(entries[1])

    assert read_death(path) == Death("w", FIRST)


def test_a_known_culprit_counts_more_than_the_last_entry(path: Path) -> None:
    record = CrashRecord(path, "w")
    record.enter(FIRST)
    record.enter(SECOND)

    record.blame(FIRST)

    assert read_death(path) == Death("w", FIRST)


def test_a_worker_that_ends_in_order_leaves_no_death(path: Path) -> None:
    record = CrashRecord(path, "w")
    record.enter(FIRST)

    record.clear()
    record.leave(record.enter(SECOND))

    assert read_death(path) is None


def test_a_new_worker_starts_a_new_record(path: Path) -> None:
    CrashRecord(path, "a-long-name-of-the-first-worker").enter(FIRST)

    CrashRecord(path, "second")

    assert read_death(path) == Death("second", None)


def test_a_record_in_memory_needs_no_file() -> None:
    record = CrashRecord(None, "w")

    record.leave(record.enter(FIRST))


async def test_the_attempt_whose_task_is_running_is_blamed(path: Path) -> None:
    record = CrashRecord(path, "w")
    entry = record.enter(FIRST)
    entry.task = asyncio.current_task()
    record.enter(SECOND)

    blamed = record.blame_task(asyncio.current_task())

    assert blamed == FIRST
    assert read_death(path) == Death("w", FIRST)


async def test_the_last_entry_is_blamed_for_an_unknown_task(path: Path) -> None:
    record = CrashRecord(path, "w")
    for lease in (FIRST, SECOND):
        record.enter(lease).task = asyncio.get_running_loop().create_future()

    assert record.blame_task(None) == SECOND


def test_nobody_is_blamed_for_an_unknown_task_without_an_entry(path: Path) -> None:
    assert CrashRecord(path, "w").blame_task(None) is None
    assert read_death(path) == Death("w", None)


def test_the_record_outlives_a_killed_process(path: Path) -> None:
    program = (
        "import os, pathlib, signal, uuid; from headrace.workers.crash_record import CrashRecord\n"
        f"CrashRecord(pathlib.Path({str(path)!r}), 'w').enter((uuid.UUID(int=1), 3))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )

    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False, env=dict(os.environ))

    assert ended.returncode == -signal.SIGKILL
    assert read_death(path) == Death("w", FIRST)
