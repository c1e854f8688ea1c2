"""The program of `ProcessWatch`: reads beats from standard input and kills the process that fell silent.

Arguments: the id of the process, and the seconds of silence that it is allowed. It uses only the standard
library, and no module that starts slowly.
"""

import os
import select
import signal
import sys
import time

TICK_SECONDS = 0.5
ABORT_SECONDS = 1.5


def is_suspended(pid: int) -> bool:
    """Return whether the process was stopped by a signal or a debugger."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  (pathlib is slow to import)
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except OSError:
        return False


def watch(pid: int, allowed: float) -> bool:
    """Read beats until the process ends (False), or has been silent for *allowed* seconds (True)."""
    silent = 0.0
    while silent < allowed:
        began = time.monotonic()
        readable, _, _ = select.select([0], [], [], TICK_SECONDS)
        if (readable and not os.read(0, 4096)) or os.getppid() != pid:
            return False
        # After a pause of this process itself, such as that of the whole machine, the other one beats soon.
        passed = min(time.monotonic() - began, TICK_SECONDS)
        silent = 0.0 if readable or is_suspended(pid) else silent + passed
    return True


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
    pid, allowed = int(sys.argv[1]), float(sys.argv[2])
    # The process that is watched decides when to end; a Ctrl-C of the terminal is not meant for this one.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    first, _, _ = select.select([0], [], [])
    if first and os.read(0, 4096) and watch(pid, allowed):
        kill(pid, allowed)


if __name__ == "__main__":
    main()
