"""Detects changed Python files for `up --reload`. It polls, so it works on every file system."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

IMPORTS_SUFFIX: Final = ".imports"
"""The end of the names of the files in which workers list what they have imported."""
_POLL_SECONDS: Final = 0.5

Snapshot = dict[Path, int]
"""The modification time of each file, in nanoseconds."""


class WatchedFiles:
    """The files that matter to a service: its own, those of the pipeline *sources*, and what workers import.

    *run_dir* holds the lists of the workers. What a worker has imported once is watched from then on, since
    an edit may keep the next worker from importing it.
    """

    def __init__(self, sources: Sequence[str], run_dir: Path) -> None:
        paths = [Path(source).expanduser().absolute() for source in sources]
        self._trees = [Path(__file__).resolve().parents[1], *(path for path in paths if path.is_dir())]
        # A module that a file could not import may be created beside it.
        self._folders = [path.parent for path in paths if path.is_file()]
        self._run_dir = run_dir
        self._imported: set[Path] = set()

    def snapshot(self) -> Snapshot:
        """Return the times of all files that exist now."""
        return _times(self._listed()) | _times(self._imported)

    def add_imports(self) -> Snapshot:
        """Watch what workers have imported since the last call; return the times of these files."""
        names: set[str] = set()
        for path in self._run_dir.glob(f"*{IMPORTS_SUFFIX}"):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                names.update(msgspec.json.decode(path.read_bytes(), type=list[str]))
        new = {Path(name) for name in names} - self._imported
        self._imported |= new
        return _times(new)

    def _listed(self) -> Iterator[Path]:
        for tree in self._trees:
            yield from tree.rglob("*.py")
        for folder in self._folders:
            yield from folder.glob("*.py")


def _times(paths: Iterable[Path]) -> Snapshot:
    modified: Snapshot = {}
    for path in paths:
        with contextlib.suppress(OSError):
            modified[path] = path.stat().st_mtime_ns
    return modified


async def watch_changes(files: WatchedFiles) -> AsyncIterator[Path]:
    """Yield one changed, new or removed file per poll that sees any."""
    before = await asyncio.to_thread(files.snapshot)
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        # A file that a worker has imported is not new because it is watched now.
        before = await asyncio.to_thread(files.add_imports) | before
        now = await asyncio.to_thread(files.snapshot)
        if now != before:
            yield min(path for path in now.keys() | before.keys() if now.get(path) != before.get(path))
        before = now
