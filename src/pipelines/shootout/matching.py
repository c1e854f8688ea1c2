"""Runs the step `match`: finds one loudness at which no render exceeds the ceiling. Pure."""

from collections.abc import Sequence

from headrace.pipelines.shootout.outputs import Matched, Render
from headrace.pipelines.shootout.params import Match

# True-peak meters differ by this much because of their filters, and by more near 20 kHz.
_GUARD_DB = 0.05


def match_renders(renders: Sequence[Render], options: Match) -> Matched:
    """Return the requested target, or the highest below it that keeps every true peak under the ceiling."""
    ceiling = options.ceiling_dbfs - _GUARD_DB
    target, limited_by = options.target_lufs, None
    for render in renders:
        highest = ceiling - render.true_peak_dbtp + render.lufs
        if highest < target:
            target, limited_by = highest, render.chain
    return Matched(
        target_lufs=target, gains_db=[target - render.lufs for render in renders], limited_by=limited_by
    )
