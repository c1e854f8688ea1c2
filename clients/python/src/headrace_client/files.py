"""A file that is written whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 256 * 1024


@contextmanager
def target_of(path: Path) -> Iterator[Path]:
    """Where to write what will stand at *path* when the block ends well."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
