"""A watcher process kills a process whose event loop is blocked, even by code that holds Python's lock."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.patience import PATIENCE_SECONDS

PROGRAM = """
import asyncio, os, re, sys, threading, time
from pathlib import Path
from headrace.adapters.process_watch import watched_process

async def hang():
    with watched_process(silent_seconds=1, report=Path({report!r})) as watch:
        beats = asyncio.create_task(watch.run())
        await asyncio.sleep(0.2)
        print("ready", flush=True)
        {way}
        beats.cancel()
    print("in order", flush=True)

asyncio.run(hang())
"""

HOLD_THE_LOCK = "re.match('(a+)+$', 'a' * 40 + 'b')"


@contextmanager
def started(way: str, report: Path = Path(os.devnull)) -> Iterator["subprocess.Popen[str]"]:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(way=way, report=str(report))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        yield program
    finally:
        program.kill()
        program.communicate()


@pytest.mark.parametrize("way", ["re.match('(a+)+$', 'a' * 40 + 'b')", "time.sleep(60)", "while True: pass"])
def test_a_process_that_hangs_is_killed_and_its_stacks_are_printed(way: str) -> None:
    with started(way) as program:
        _, errors = program.communicate(timeout=60)

    assert program.returncode == -signal.SIGABRT
    assert f"process {program.pid}: the event loop is blocked for more than 1 s" in errors
    assert "Fatal Python error: Aborted" in errors
    assert " in hang" in errors


@pytest.mark.parametrize(
    "way",
    [
        f"print(os.getpid(), flush=True); {HOLD_THE_LOCK}",
        f"go = threading.Event(); thread = threading.Thread(target=lambda: go.wait() and {HOLD_THE_LOCK}); "
        "thread.start(); print(thread.native_id, flush=True); go.set(); await asyncio.sleep(60)",
        # All threads wait: the one that holds Python's lock cannot be seen.
        "import ctypes; print('none', flush=True); ctypes.PyDLL(None).sleep(60)",
    ],
    ids=["loop", "thread", "asleep"],
)
def test_the_thread_that_runs_when_the_process_hangs_is_reported(tmp_path: Path, way: str) -> None:
    report = tmp_path / "report"
    with started(way, report) as program:
        assert program.stdout is not None
        running = program.stdout.readline().strip()
        program.communicate(timeout=60)

    assert (report.read_text() if report.exists() else "none") == running


def test_a_process_that_ignores_the_abort_is_killed() -> None:
    way = "import signal; signal.signal(signal.SIGABRT, signal.SIG_IGN); time.sleep(60)"
    with started(way) as program:
        _, errors = program.communicate(timeout=60)

    assert program.returncode == -signal.SIGKILL
    assert "the event loop is blocked" in errors


def test_a_process_that_is_suspended_is_left_alone() -> None:
    with started("await asyncio.sleep(4)") as program:
        program.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        program.send_signal(signal.SIGCONT)
        output, errors = program.communicate(timeout=60)

    assert (program.returncode, output, errors) == (0, "in order\n", "")


def test_a_lively_process_is_left_alone_and_its_watcher_ends_with_it() -> None:
    with started("print(watch._watcher.pid, flush=True); await asyncio.sleep(2)") as program:
        assert program.stdout is not None
        watcher = int(program.stdout.readline())
        assert program.wait(60) == 0

    with pytest.raises(ProcessLookupError):
        os.kill(watcher, 0)


def test_a_watcher_ends_when_its_process_is_killed() -> None:
    with started("print(watch._watcher.pid, flush=True); await asyncio.sleep(60)") as program:
        assert program.stdout is not None
        watcher = int(program.stdout.readline())
        program.kill()
        program.wait(60)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while _runs(watcher):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
