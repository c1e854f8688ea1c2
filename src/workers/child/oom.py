"""Who goes first when memory runs out."""

import contextlib
from pathlib import Path


def prefer_oom_kill() -> None:
    """Have Linux end this process before the workers and the servers; elsewhere nothing happens."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
