"""What `match` does: one loudness that every render can have without passing the ceiling. Plain numbers."""

from collections.abc import Sequence

from headrace.pipelines.shootout.outputs import Matched, Render
from headrace.pipelines.shootout.params import Match

# Meters of true peak differ in their filters by this much and more near 20 kHz.
_GUARD_DB = 0.05


def match_renders(renders: Sequence[Render], wanted: Match) -> Matched:
    """The target asked for, or the highest below it that keeps every true peak under the ceiling."""
    ceiling = wanted.ceiling_dbfs - _GUARD_DB
    target, limited_by = wanted.target_lufs, None
    for render in renders:
        highest = ceiling - render.true_peak_dbtp + render.lufs
        if highest < target:
            target, limited_by = highest, render.chain
    return Matched(
        target_lufs=target, gains_db=[target - render.lufs for render in renders], limited_by=limited_by
    )
