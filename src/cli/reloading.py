"""`up --reload`: notice that a Python file changed. Polled, so it works on every file system."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

_EVERY_SECONDS: Final = 0.5


def watched_folders(sources: Sequence[str]) -> list[Path]:
    """Our own source tree, and the files and folders among the user's pipeline *sources*."""
    theirs = [Path(source).expanduser() for source in sources]
    return [Path(__file__).resolve().parents[1], *(path.absolute() for path in theirs if path.exists())]


def snapshot(places: Sequence[Path]) -> dict[Path, int]:
    """When each Python file was changed last."""
    changed: dict[Path, int] = {}
    for place in places:
        for path in [place] if place.is_file() else place.rglob("*.py"):
            try:
                changed[path] = path.stat().st_mtime_ns
            except OSError:
                continue
    return changed


async def changes(places: Sequence[Path]) -> AsyncIterator[Path]:
    """One changed, new or removed file each time there are any."""
    before = await asyncio.to_thread(snapshot, places)
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        now = await asyncio.to_thread(snapshot, places)
        if now != before:
            yield min(path for path in now.keys() | before.keys() if now.get(path) != before.get(path))
        before = now
