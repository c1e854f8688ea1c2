"""Atomic writes of files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 256 * 1024


@contextmanager
def atomic_target(path: Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to *path* if the block succeeds."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
