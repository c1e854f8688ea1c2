"""Makes folders, and the entries in them, outlive a power cut."""

import errno
import os
from pathlib import Path
from typing import Final

from headrace.adapters.private_files import FOLDER_MODE

_SYNC_NOT_OFFERED: Final = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents durably, with mode 700."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Write the entries of a folder to the disk, where the platform and the file system offer that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # A folder above the store may be entered, but not read.
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _SYNC_NOT_OFFERED:
            raise
    finally:
        os.close(descriptor)
