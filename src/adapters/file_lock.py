"""An exclusive lock on a file, which names the process that holds it."""

import fcntl
import os
import time
from pathlib import Path
from typing import IO, Final

from headrace.domain.errors import HeadraceError

_RETRY_SECONDS: Final = 0.02


class LockHeldError(HeadraceError):
    """Another process holds the lock. *holder* is its process id, or empty if the file does not say."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is locked by process {holder or 'unknown'}")
        self.holder = holder


class FileLock:
    """A lock that is held until `release` or until this process ends, even by SIGKILL."""

    def __init__(self, path: Path, *, timeout_seconds: float = 0.0) -> None:
        """Acquire the lock, and create its file if there is none.

        Raises:
            LockHeldError: another process still holds the lock after *timeout_seconds*.
            OSError: the file cannot be created or opened.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        self._file: IO[str] = os.fdopen(os.open(path, flags, 0o600), "r+")
        if os.geteuid() == 0:
            # Otherwise the owner of the folder could not open the file of a lock that root has created.
            folder = path.parent.stat()
            os.fchown(self._file.fileno(), folder.st_uid, folder.st_gid)
        deadline = time.monotonic() + timeout_seconds
        while not self._try():
            if time.monotonic() >= deadline:
                holder = self._file.read().strip()
                self._file.close()
                raise LockHeldError(path, holder)
            time.sleep(_RETRY_SECONDS)
        self.was_abandoned = bool(self._file.read().strip())
        """Whether the last holder ended without `release`."""
        self._write(f"{os.getpid()}\n")

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        if not self._file.closed:
            self._write("")
            self._file.close()

    def _try(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _write(self, text: str) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._file.write(text)
        self._file.flush()


def is_locked(path: Path) -> bool:
    """Return whether a live process holds the lock of this file."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
