"""The program of `ProcessWatch`: reads beats from standard input and kills the process that fell silent.

Arguments: the id of the process, the seconds of silence that it is allowed, and a file to which the id of its
running thread is appended before it is killed. It uses only the standard library, and no module that starts
slowly.
"""

import contextlib
import os
import select
import signal
import sys
import time

TICK_SECONDS = 0.5
ABORT_SECONDS = 1.5
# Threads that wait for Python's lock wake up every 5 ms, but use less than a tenth of a processor.
SAMPLE_SECONDS = 1.0
BUSY_SHARE = 0.1


def is_suspended(pid: int) -> bool:
    """Return whether the process was stopped by a signal or a debugger."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  (pathlib is slow to import)
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except OSError:
        return False


def cpu_seconds(pid: int) -> dict[int, float]:
    """Return how long each thread of the process has run on a processor; empty where /proc does not tell."""
    seconds: dict[int, float] = {}
    per_second = os.sysconf("SC_CLK_TCK")
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with (
                contextlib.suppress(OSError),
                open(f"/proc/{pid}/task/{thread}/stat", "rb") as file,  # noqa: PTH123
            ):
                user, system = file.read().rpartition(b")")[2].split()[11:13]
                seconds[int(thread)] = (int(user) + int(system)) / per_second
    return seconds


def busiest_thread(before: dict[int, float], after: dict[int, float]) -> int | None:
    """Return the thread that ran longest between the two samples; None if all of them were waiting."""
    ran = {thread: seconds - before.get(thread, 0.0) for thread, seconds in after.items()}
    busiest = max(ran, key=ran.__getitem__, default=None)
    return None if busiest is None or ran[busiest] < SAMPLE_SECONDS * BUSY_SHARE else busiest


def watch(pid: int, allowed: float) -> dict[int, float] | None:
    """Read beats until the process ends, or has been silent for *allowed* seconds.

    Return None if it ended, else the times of its threads from about `SAMPLE_SECONDS` ago.
    """
    silent = 0.0
    sample: dict[int, float] | None = None
    while silent < allowed:
        if silent == 0.0:
            sample = None
        if sample is None and silent >= allowed - SAMPLE_SECONDS:
            sample = cpu_seconds(pid)
        began = time.monotonic()
        readable, _, _ = select.select([0], [], [], TICK_SECONDS)
        if (readable and not os.read(0, 4096)) or os.getppid() != pid:
            return None
        # After a pause of this process itself, such as that of the whole machine, the other one beats soon.
        passed = min(time.monotonic() - began, TICK_SECONDS)
        silent = 0.0 if readable or is_suspended(pid) else silent + passed
    return sample or {}


def kill(pid: int, allowed: float) -> None:
    """End the process: first with its stacks on standard error, then without."""
    sys.stderr.write(
        f"process {pid}: the event loop is blocked for more than {allowed:g} s, by code that holds Python's "
        "lock; killing the process\n"
    )
    sys.stderr.flush()
    for number in (signal.SIGABRT, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        if number == signal.SIGABRT:
            deadline = time.monotonic() + ABORT_SECONDS
            while time.monotonic() < deadline:
                readable, _, _ = select.select([0], [], [], 0.1)
                if readable and not os.read(0, 4096):
                    return


def main() -> None:
    pid, allowed, reports = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    # The process that is watched decides when to end; a Ctrl-C of the terminal is not meant for this one.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    first, _, _ = select.select([0], [], [])
    if not first or not os.read(0, 4096):
        return
    before = watch(pid, allowed)
    if before is None:
        return
    busiest = busiest_thread(before, cpu_seconds(pid))
    for report in reports if busiest is not None else ():
        with contextlib.suppress(OSError), open(report, "a") as file:  # noqa: PTH123
            file.write(str(busiest))
    kill(pid, allowed)


if __name__ == "__main__":
    main()
