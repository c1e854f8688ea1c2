"""Temporary folders that do not stay for ever if their process is killed: the next process removes them."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PREFIX: Final = "headrace-run-"
_MAX_TRIES: Final = 10


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make an empty folder for the block. A lock on it lasts as long as this process lives."""
    folder, descriptor = _make_locked()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def remove_abandoned_folders(on_folder: Callable[[Path], object] = lambda _: None) -> int:
    """Remove the temporary folders of this user whose processes have ended; return how many.

    *on_folder* is called with each of them before it is removed.
    """
    count = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        descriptor = _lock(folder)
        if descriptor is not None:
            on_folder(folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)
            count += 1
    return count


def _make_locked() -> tuple[Path, int]:
    for _ in range(_MAX_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        descriptor = _lock(folder)
        if descriptor is not None and folder.exists():
            return folder, descriptor
        # Another process took it for an abandoned one, before it was locked.
        if descriptor is not None:
            os.close(descriptor)
    raise FileExistsError(f"no temporary folder could be locked in {tempfile.gettempdir()}")


def _lock(folder: Path) -> int | None:
    """Lock a folder of this user; return its descriptor, or None if another process holds the lock."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # it was removed meanwhile, or is no folder that this user may read
        return None
    try:
        if os.fstat(descriptor).st_uid == os.getuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None
