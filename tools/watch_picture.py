"""Draws the picture of the README: a watched job in the terminal, from the frames of a real one.

`headrace watch JOB --json | python tools/watch_picture.py PROGRESS FILE.svg [STEP=LABEL]...` draws the bars
as they stand when the job's progress first reaches PROGRESS (0 to 1).
"""

import io
import re
import sys
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.terminal_theme import MONOKAI

from headrace.cli.job_view import JobViewModel
from headrace.cli.live_renderer import LiveRenderer

_COLUMNS: Final = 100
_FONT_FACE: Final = re.compile(r"@font-face \{.*?\}", re.DOTALL)


def draw(frames: list[bytes], progress: float, labels: dict[str, str]) -> str:
    """Return the SVG of the job when it first reaches *progress*, or of its end."""
    first = msgspec.json.decode(frames[0])
    view = JobViewModel(first["job_id"])
    for frame in frames:
        view.apply(msgspec.json.decode(frame))
        if view.fraction >= progress:
            break
    console = Console(record=True, width=_COLUMNS, height=30, file=io.StringIO(), force_terminal=True)
    console.print(LiveRenderer(view, console, labels))
    svg = console.export_svg(title=f"headrace watch {first['job_id']}", theme=MONOKAI)
    # The browser's own monospace font: a page should not load fonts from elsewhere.
    return _FONT_FACE.sub("", svg).replace("Fira Code", "ui-monospace")


if __name__ == "__main__":
    progress, path, *labels = sys.argv[1:]
    lines = [line for line in sys.stdin.buffer.read().splitlines() if line]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(draw(lines, float(progress), dict(label.split("=", 1) for label in labels)))
