"""Folders for the data of servers that a test starts."""

import shutil
import tempfile
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")  # noqa: S108  (a folder in it has a random name)
_ROOM_BYTES: Final = 4 << 30


def make_server_folder(prefix: str) -> Path:
    """Make a folder that every user may enter: under root, PostgreSQL runs as another user.

    It is in memory if there is room, because PostgreSQL flushes each of its writes.
    """
    is_roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY if is_roomy else None))
    folder.chmod(0o711)
    return folder
