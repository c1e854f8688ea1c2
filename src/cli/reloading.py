"""Detects changed Python files for `up --reload`. It polls, so it works on every file system."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

_POLL_SECONDS: Final = 0.5


def watched_paths(sources: Sequence[str]) -> list[Path]:
    """Return our own source tree and those pipeline *sources* that are files or folders."""
    user_paths = [Path(source).expanduser() for source in sources]
    return [Path(__file__).resolve().parents[1], *(path.absolute() for path in user_paths if path.exists())]


def snapshot(roots: Sequence[Path]) -> dict[Path, int]:
    """Return the modification time of each Python file in *roots*, in nanoseconds."""
    modified: dict[Path, int] = {}
    for root in roots:
        for path in [root] if root.is_file() else root.rglob("*.py"):
            try:
                modified[path] = path.stat().st_mtime_ns
            except OSError:
                continue
    return modified


async def watch_changes(roots: Sequence[Path]) -> AsyncIterator[Path]:
    """Yield one changed, new or removed file per poll that sees any."""
    before = await asyncio.to_thread(snapshot, roots)
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        now = await asyncio.to_thread(snapshot, roots)
        if now != before:
            yield min(path for path in now.keys() | before.keys() if now.get(path) != before.get(path))
        before = now
