"""The file in the data folder that says that `up` is starting there, so that commands wait for it."""

import contextlib
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from headrace.adapters.file_lock import is_locked
from headrace.adapters.private_files import replace_private

LOCK_NAME: Final = "up.lock"
"""The name of the file that `up` locks in its data folder."""
_NOTICE_NAME: Final = "up.starting"
_WAIT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1


def announce_start(data_dir: Path, url: str) -> None:
    """Say that the service at *url* is starting. The caller holds the lock of the folder."""
    replace_private(data_dir / _NOTICE_NAME, url.encode())


def withdraw_start(data_dir: Path) -> None:
    """Say that no service is starting any more: it is ready, or it ends."""
    (data_dir / _NOTICE_NAME).unlink(missing_ok=True)


def is_starting(url: str, data_dir: Path) -> bool:
    """Return whether an `up` on this data folder is starting the service at *url*."""
    with contextlib.suppress(OSError, ValueError):
        started = (data_dir / _NOTICE_NAME).read_text()
        # A notice that a killed `up` has left counts no more.
        return _port(started) == _port(url) and is_locked(data_dir / LOCK_NAME)
    return False


def wait_while_starting(url: str, data_dir: Path, *, seconds: float = _WAIT_SECONDS) -> None:
    """Wait until the service at *url* is ready or has given up, at most *seconds*; say so on standard error.

    Return at once if no `up` on this data folder is starting it.
    """
    if not is_starting(url, data_dir):
        return
    click.echo(f"headrace: the service at {url} is starting; waiting for it", err=True)
    deadline = time.monotonic() + seconds
    while is_starting(url, data_dir) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _port(url: str) -> int | None:
    return urlsplit(url).port
