"""The crash record of a worker names the attempt that is to blame for its end."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from headrace.domain.jobs.attempts.claims import HeldLease
from headrace.workers.crash_record import LOOP, NO_LEASE, CrashRecord, Death, pack_lease, read_death

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


def test_the_attempt_that_waits_is_not_the_one_that_the_loop_runs(path: Path) -> None:
    record = CrashRecord(path, "w")
    first, second = record.enter(FIRST), record.enter(SECOND)
    second.suspend()
    first.resume()

    assert read_death(path) == Death("w", FIRST)


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


def test_nobody_is_blamed_for_a_worker_that_breaks_by_itself(path: Path) -> None:
    record = CrashRecord(path, "w")
    record.enter(FIRST)

    record.absolve()

    assert read_death(path) == Death("w", None)


def test_a_suspect_is_blamed_although_its_worker_breaks(path: Path) -> None:
    record = CrashRecord(path, "w")
    record.blame(FIRST)

    record.absolve()

    assert read_death(path) == Death("w", FIRST)


def test_a_new_worker_starts_a_new_record(path: Path) -> None:
    CrashRecord(path, "a-long-name-of-the-first-worker").enter(FIRST)

    CrashRecord(path, "second")

    assert read_death(path) == Death("second", None)


def test_a_record_in_memory_needs_no_file() -> None:
    record = CrashRecord(None, "w")

    record.leave(record.enter(FIRST))


def wait_in(record: CrashRecord, *leases: HeldLease) -> None:
    """Enter code of *leases* that waits for something."""
    for lease in leases:
        record.enter(lease).suspend()


def run_in_loop(record: CrashRecord, lease: HeldLease | None) -> None:
    record.memory[LOOP] = NO_LEASE if lease is None else pack_lease(lease)


@pytest.mark.parametrize("runs_task", [True, False])
def test_the_attempt_whose_code_blocks_the_loop_is_blamed(path: Path, runs_task: bool) -> None:
    record = CrashRecord(path, "w")
    wait_in(record, FIRST, SECOND)
    run_in_loop(record, FIRST)

    assert record.blame_loop(runs_task=runs_task) == FIRST
    assert read_death(path) == Death("w", FIRST)


def test_the_attempt_for_which_the_worker_blocks_the_loop_is_blamed(path: Path) -> None:
    record = CrashRecord(path, "w")
    wait_in(record, FIRST, SECOND)

    assert record.blame_loop(runs_task=True, runs_for=FIRST) == FIRST
    assert read_death(path) == Death("w", FIRST)


def test_nobody_is_blamed_for_a_task_of_the_worker_itself(path: Path) -> None:
    record = CrashRecord(path, "w")
    wait_in(record, FIRST)

    assert record.blame_loop(runs_task=True) is None
    assert read_death(path) == Death("w", None)


def test_a_suspect_is_blamed_whatever_blocks_its_process(path: Path) -> None:
    record = CrashRecord(path, "w")
    record.blame(FIRST)

    assert record.blame_loop(runs_task=True) == FIRST
    assert read_death(path) == Death("w", FIRST)


def test_the_last_entry_is_blamed_for_a_callback_that_blocks(path: Path) -> None:
    record = CrashRecord(path, "w")
    wait_in(record, FIRST, SECOND)

    assert record.blame_loop(runs_task=False) == SECOND
    assert read_death(path) == Death("w", SECOND)


def test_nobody_is_blamed_for_a_callback_without_an_entry(path: Path) -> None:
    assert CrashRecord(path, "w").blame_loop(runs_task=False) is None
    assert read_death(path) == Death("w", None)


def test_the_attempt_that_the_loop_runs_at_the_death_is_to_blame(path: Path) -> None:
    record = CrashRecord(path, "w")
    wait_in(record, SECOND)
    run_in_loop(record, FIRST)

    running = record.call(THIRD, read_death, path)
    run_in_loop(record, None)
    suspended = record.call(THIRD, read_death, path)

    # While the loop runs nobody's code, only a thread can have ended the process.
    assert (running, suspended) == (Death("w", FIRST), Death("w", THIRD))
    assert read_death(path) == Death("w", SECOND)


def test_the_thread_that_began_last_is_to_blame_when_nothing_else_is_known(path: Path) -> None:
    record = CrashRecord(path, "w")

    assert record.call(FIRST, record.call, SECOND, read_death, path) == Death("w", SECOND)


def test_the_thread_that_runs_in_a_hanging_process_is_to_blame(path: Path) -> None:
    record = CrashRecord(path, "w")
    run_in_loop(record, FIRST)
    began, done = threading.Barrier(4), threading.Event()
    threads = []

    def work() -> None:
        began.wait()
        done.wait()

    for lease in (SECOND, THIRD, FIRST):
        threads.append(threading.Thread(target=record.call, args=(lease, work)))
        threads[-1].start()
    began.wait()
    content = path.read_bytes()
    done.set()
    for thread in threads:
        thread.join()

    deaths = []
    for busy in (threads[0].native_id, threads[1].native_id, threading.get_native_id()):
        path.write_bytes(content + str(busy).encode())
        deaths.append(read_death(path))
    assert deaths == [Death("w", SECOND), Death("w", THIRD), Death("w", FIRST)]


def test_a_thread_that_runs_nobodys_code_blames_the_last_entry(path: Path) -> None:
    record = CrashRecord(path, "w")
    wait_in(record, SECOND)
    run_in_loop(record, FIRST)
    with path.open("a") as file:
        file.write("1")

    assert read_death(path) == Death("w", SECOND)


def test_threads_beyond_the_limit_are_not_recorded(path: Path) -> None:
    record = CrashRecord(path, "w")
    record._free_threads.clear()

    assert record.call(FIRST, read_death, path) == Death("w", None)


def test_the_record_outlives_a_killed_process(path: Path) -> None:
    program = (
        "import os, pathlib, signal, uuid; from headrace.workers.crash_record import CrashRecord\n"
        f"CrashRecord(pathlib.Path({str(path)!r}), 'w').enter((uuid.UUID(int=1), 3))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )

    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False, env=dict(os.environ))

    assert ended.returncode == -signal.SIGKILL
    assert read_death(path) == Death("w", FIRST)
