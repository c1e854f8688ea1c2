"""Log files that processes append to. A log of more than 10 MB is rotated when it is opened."""

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
