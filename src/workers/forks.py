"""Makes processes that a step forks from the worker, as `multiprocessing` does, independent of the worker."""

import os
import signal
import sys
import threading
import traceback
from typing import Final, NoReturn

from headrace.workers.containment import StepLeftError
from headrace.workers.crash_record import CrashRecord

_LOOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def detach_forks(record: CrashRecord) -> None:
    """Detach each process that is forked from this one from its signals and from *record*.

    The event loop's handlers, and the descriptor that they write to, would pass signals for the child on to
    this process. A child that returns from the author's code into that of the worker ends there: it has
    the worker's connections, which it must not use.
    """
    masks = threading.local()

    def block_signals() -> None:
        # A signal for the child must not arrive before its handlers are replaced.
        masks.previous = signal.pthread_sigmask(signal.SIG_BLOCK, _LOOP_SIGNALS)

    def unblock_signals() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.previous)

    def detach() -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        record.detach(_ForkedMemory())
        unblock_signals()

    os.register_at_fork(before=block_signals, after_in_parent=unblock_signals, after_in_child=detach)


class _ForkedMemory:
    """Replaces the memory of the crash record in a forked process, and ends the process when it is written.

    The worker writes there whenever an author's code begins, suspends or ends.
    """

    def __setitem__(self, _place: slice | int, _value: bytes | int) -> NoReturn:
        error = sys.exc_info()[1]
        if isinstance(error, StepLeftError):
            error = error.__cause__
        status = 0
        if isinstance(error, SystemExit):
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None and not isinstance(error, StopIteration):  # a coroutine has returned
            traceback.print_exception(error)
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
