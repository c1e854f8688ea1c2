"""Log files that processes append to. A log of more than 10 MB is rotated when it is opened."""

import os
from pathlib import Path
from typing import IO, Final

_MAX_BYTES: Final = 10_000_000


def open_log(path: Path, *, is_private: bool = False) -> IO[bytes]:
    """Open a log for appending. A large one is first renamed to `.log.1`, which replaces an older one.

    *is_private*: the file gets mode 600 and a symbolic link is refused, as in a folder of another account.
    """
    if path.exists() and path.stat().st_size > _MAX_BYTES:
        path.replace(path.with_suffix(".log.1"))
    if not is_private:
        return path.open("ab")
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab")
