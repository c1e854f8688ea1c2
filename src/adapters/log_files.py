"""Log files that processes append to. A log of more than 10 MB is rotated, with one older file beside it."""

import os
import shutil
from pathlib import Path
from typing import IO, Final

from headrace.adapters.private_files import open_private

_MAX_BYTES: Final = 10_000_000


def open_log(path: Path, *, follows_links: bool = True) -> IO[bytes]:
    """Open a log (mode 600) for appending.

    A large one is first renamed to `.log.1`, which replaces an older one. With *follows_links* false a
    symbolic link is refused, as in a folder of another account.
    """
    if path.exists() and path.stat().st_size > _MAX_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return open_private(path, "ab", follows_links=follows_links)


def rotate_open_log(path: Path, *, max_bytes: int = _MAX_BYTES, follows_links: bool = True) -> bool:
    """Copy a large log to `.log.1` and empty it, while a process has it open for appending.

    Return whether it was large. Lines that are written in the moment between both are lost.
    """
    try:
        if path.stat().st_size <= max_bytes:
            return False
        descriptor = os.open(path, os.O_RDWR | (0 if follows_links else os.O_NOFOLLOW))
    except OSError:
        return False  # it is away, or no file of ours
    with (
        os.fdopen(descriptor, "r+b") as log,
        open_private(path.with_suffix(".log.1"), "w+b", follows_links=follows_links) as older,
    ):
        shutil.copyfileobj(log, older)
        log.truncate(0)
    return True
