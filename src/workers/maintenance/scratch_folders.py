"""Removes the scratch folders of workers on this machine that were killed, and records what it has found."""

import asyncio
import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from headrace.adapters.temporary_folders import remove_abandoned_folders
from headrace.domain.chores.repository import ChoreRepository, Findings

SCRATCH_FOLDERS: Final = "scratch_folders"


async def remove_scratch_folders(chores: ChoreRepository) -> None:
    """Remove the folders; another worker of this machine may do the same at once."""
    await chores.store_findings(SCRATCH_FOLDERS, await asyncio.to_thread(_remove))


def _remove() -> Findings:
    sizes: list[int] = []
    times: list[float] = []

    def measure(folder: Path) -> None:
        with contextlib.suppress(OSError):
            times.append(folder.stat().st_mtime)
            sizes.extend(path.lstat().st_size for path in folder.rglob("*"))

    count = remove_abandoned_folders(measure)
    return Findings(count, sum(sizes), datetime.fromtimestamp(min(times), UTC) if times else None)
