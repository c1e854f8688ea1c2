"""Runs the step `pictures`: draws all waveforms in rows and all spectra in one diagram, as PNG."""

import io
import warnings
from collections.abc import Sequence
from typing import Any, Final

import matplotlib
from matplotlib.figure import Figure

from headrace import StepContext
from headrace.pipelines.shootout.blocks import decibels
from headrace.pipelines.shootout.colours import CHAINS, FAINT, GROUND, LINE, PANEL, TEXT
from headrace.pipelines.shootout.outputs import Matched, Picture, Pictures, Prepared, Render
from headrace.pipelines.shootout.params import ShootoutParams

_STYLE: Final[dict[Any, Any]] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so the bytes are the same everywhere
    "font.size": 10,
    "text.parse_math": False,  # a chain may be named "$5 fuzz $$"
    "text.color": TEXT,
    "figure.facecolor": GROUND,
    "axes.facecolor": PANEL,
    "axes.edgecolor": LINE,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
}
_TICKS: Final = {
    50: "50",
    100: "100",
    200: "200",
    500: "500",
    1_000: "1k",
    2_000: "2k",
    5_000: "5k",
    10_000: "10k",
}


def draw_pictures(
    context: StepContext[ShootoutParams], prepared: Prepared, renders: Sequence[Render], matched: Matched
) -> Pictures:
    pictures: list[Picture] = []
    for done, (name, title, draw) in enumerate(
        (("waveforms", "Waveforms", _waveforms), ("spectrum", "Spectra", _spectra)), start=1
    ):
        context.raise_if_cancelled()
        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about glyphs that the font lacks
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            png = _png(draw(prepared, renders, matched))
        file = context.save_file(f"{name}.png", png, "image/png")
        pictures.append(Picture(title=title, file=file, file_name=f"{name}.png"))
        context.progress(done, 2, f"{name} drawn")
    return Pictures(pictures=pictures)


def _waveforms(prepared: Prepared, renders: Sequence[Render], matched: Matched) -> Figure:
    height = 0.55 + 1.05 * len(renders)
    figure = Figure(figsize=(11, height), dpi=130, layout="constrained")
    rows: Any = figure.subplots(len(renders), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    limit = 0.0
    for place, (axes, render) in enumerate(zip(rows, renders, strict=True)):
        factor, colour = decibels(matched.gains_db[place]), CHAINS[place]
        low, high = [v * factor for v in render.low], [v * factor for v in render.high]
        limit = max(limit, *(-value for value in low), *high)
        times = [prepared.seconds * (n + 0.5) / len(low) for n in range(len(low))]
        axes.fill_between(times, low, high, color=colour, linewidth=0.4, alpha=0.95)
        axes.axhline(0, color=GROUND, linewidth=0.6)
        axes.text(
            0.008, 0.9, _short(render.chain), transform=axes.transAxes, va="top", color=colour, weight="bold"
        ).set_bbox({"facecolor": PANEL, "edgecolor": "none", "alpha": 0.75, "pad": 2})
        axes.grid(visible=True, axis="x")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_yticks([])
    rows[0].set_ylim(-1.08 * limit, 1.08 * limit)
    rows[0].set_xlim(0, prepared.seconds)
    rows[-1].set_xlabel("seconds")
    figure.supylabel(f"amplitude at \N{MINUS SIGN}{-matched.target_lufs:.1f} LUFS", color=FAINT, fontsize=10)
    return figure


def _spectra(_prepared: Prepared, renders: Sequence[Render], matched: Matched) -> Figure:
    figure = Figure(figsize=(11, 5.2), dpi=130, layout="constrained")
    axes: Any = figure.subplots()
    top = -200.0
    for place, render in enumerate(renders):
        levels = [level + matched.gains_db[place] for level in render.spectrum.levels_db]
        top = max(top, *levels)
        axes.semilogx(
            render.spectrum.frequencies,
            levels,
            color=CHAINS[place],
            linewidth=1.9,
            alpha=0.92,
            label=f"{place + 1}  {_short(render.chain)}",
        )
    axes.set_xlim(40, 16_000)
    axes.set_ylim(top - 72, top + 5)
    axes.set_xticks(list(_TICKS), list(_TICKS.values()))
    axes.tick_params(which="minor", length=0)
    axes.set_xlabel("Hz")
    axes.set_ylabel("dB per sixth of an octave")
    axes.grid(visible=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", frameon=False, ncols=1 + len(renders) // 5)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:39]}…"


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi="figure", metadata={"Software": None})
    return content.getvalue()
