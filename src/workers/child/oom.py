"""Chooses which process Linux kills first when memory runs out."""

import contextlib
from pathlib import Path

_SCORE_ADJUSTMENT = "500"


def prefer_oom_kill() -> None:
    """Make Linux kill this process before the workers and servers. Other systems ignore this."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_SCORE_ADJUSTMENT)
