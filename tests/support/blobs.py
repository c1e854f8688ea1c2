"""Lists and ages the stored contents of files."""

import os
import time
from pathlib import Path

from headrace.settings import Settings
from headrace.workers.maintenance.blob_remover import MIN_AGE_SECONDS


def stored(settings: Settings) -> list[Path]:
    return [path for path in settings.blob_dir.rglob("*") if path.is_file()]


def make_old(settings: Settings) -> None:
    """Age all blobs, because young ones are kept for a while."""
    for path in stored(settings):
        long_ago = time.time() - MIN_AGE_SECONDS - 60
        os.utime(path, (long_ago, long_ago))
