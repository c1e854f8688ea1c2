"""Checks whether the folder for files can be used: that it can be written, and how much room it has."""

import shutil
from pathlib import Path
from typing import Final

from headrace.adapters.blob_store import probe_store
from headrace.adapters.store_errors import StoreError
from headrace.domain.errors import HeadraceError

MIN_START_BYTES: Final = 100_000_000


class FolderUnusableError(HeadraceError):
    """The data folder cannot be written."""

    def __init__(self, folder: Path, error: StoreError) -> None:
        super().__init__(
            f"HEADRACE_DATA_DIR: {folder}: {error}: let the user of this process write there, make room, or"
            " name another folder"
        )


class NoRoomError(HeadraceError):
    """The disk of the data folder is almost full."""

    def __init__(self, folder: Path, free: int) -> None:
        super().__init__(
            f"HEADRACE_DATA_DIR: {folder} has {free / 1e6:.0f} MB free, and a start needs"
            f" {MIN_START_BYTES / 1e6:.0f} MB: make room"
        )


def require_usable_folder(folder: Path) -> None:
    """Check that *folder*, or the nearest one above it that exists, can be written and has room.

    Raises:
        FolderUnusableError, NoRoomError: it cannot, or has none.
    """
    try:
        probe_store(folder)
    except StoreError as error:
        raise FolderUnusableError(folder, error) from error
    free = free_bytes(folder)
    if free < MIN_START_BYTES:
        raise NoRoomError(folder, free)


def free_bytes(folder: Path) -> int:
    """Return how many bytes are free for *folder*, which may not exist yet."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
