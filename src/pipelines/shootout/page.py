"""Runs the step `compare`: builds one HTML page that contains everything and needs no network."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import soundfile

from headrace import StepContext
from headrace.pipelines.shootout.blocks import RATE
from headrace.pipelines.shootout.colours import CHAINS
from headrace.pipelines.shootout.encoding import flac
from headrace.pipelines.shootout.outputs import Matched, Picture, Prepared, Render, Shootout, Track
from headrace.pipelines.shootout.params import Block, Delay, Drive, Eq, Gain, Ir, ShootoutParams

_TEMPLATE: Final = Path(__file__).with_name("page.html")
# The page contains all tracks as base64, about 45 MB at this length, and the browser decodes all of them.
MAX_EMBEDDED_SECONDS: Final = 300.0


def save_page(
    context: StepContext[ShootoutParams],
    *,
    prepared: Prepared,
    renders: Sequence[Render],
    matched: Matched,
    tracks: Sequence[Track],
    pictures: Sequence[Picture],
) -> Shootout:
    """Save `shootout.html`. Of long tracks it contains only the beginning, and says so."""
    total = len(tracks) + len(pictures) + 1
    clip_seconds = min(prepared.seconds, MAX_EMBEDDED_SECONDS / len(tracks))
    sounds: list[str] = []
    for done, track in enumerate(tracks):
        context.raise_if_cancelled()
        context.progress(done, total, f"putting {track.name!r} on the page")
        sounds.append(
            _text(_sound(context, track.file, clip_seconds, whole=clip_seconds == prepared.seconds))
        )
    facts = {
        "seconds": prepared.seconds,
        "clipSeconds": clip_seconds,
        "targetLufs": matched.target_lufs,
        "wantedLufs": context.params.match.target_lufs,
        "limitedBy": matched.limited_by,
        "ceiling": context.params.match.ceiling_dbfs,
        "tracks": [
            {
                "name": track.name,
                "colour": CHAINS[place],
                "blocks": [describe(block) for block in chain.blocks],
                "fileName": track.file_name,
                "lufs": track.lufs,
                "truePeak": track.true_peak_dbtp,
                "gain": track.gain_db,
                "crest": track.crest_db,
                "low": render.low,
                "high": render.high,
                "scale": 10 ** (track.gain_db / 20),
            }
            for place, (chain, track, render) in enumerate(
                zip(context.params.chains, tracks, renders, strict=True)
            )
        ],
    }
    drawings = [_figure(context, picture) for picture in pictures]
    page = fill(_TEMPLATE.read_text("utf-8"), facts, sounds, drawings)
    file = context.save_file("shootout.html", page.encode(), "text/html")
    context.progress(total, total, "the page is ready")
    return Shootout(
        page=file,
        tracks=list(tracks),
        target_lufs=round(matched.target_lufs, 2),
        limited_by=matched.limited_by,
        pictures=list(pictures),
    )


def fill(template: str, facts: dict[str, Any], sounds: Sequence[str], drawings: Sequence[str]) -> str:
    """Fill *template*. Names are untrusted text, so they are escaped and cannot close their element."""
    as_json = msgspec.json.encode(facts).decode().replace("<", "\\u003c")
    elements = "\n".join(
        f'<script type="text/plain" id="sound-{place}">{sound}</script>' for place, sound in enumerate(sounds)
    )
    # Fill all places in one pass, so that a chain named "{{sounds}}" stays a name.
    parts = {"facts": as_json, "sounds": elements, "pictures": "\n".join(drawings)}
    head, *rest = template.split("{{")
    return head + "".join(parts[name] + after for name, _, after in (piece.partition("}}") for piece in rest))


def describe(block: Block) -> str:
    """Return a short text for the listener, such as `soft drive +24 dB`."""
    match block:
        case Gain():
            return f"gain {block.db:+g} dB"
        case Eq():
            return f"eq, {len(block.bands)} band{'s' if len(block.bands) > 1 else ''}"
        case Drive():
            return f"{block.curve} drive {block.amount_db:+g} dB"
        case Ir():
            return "cabinet" if block.file == "builtin" else "ir"
        case Delay():
            return f"delay {block.time_ms:g} ms"


def _sound(context: StepContext[ShootoutParams], file: UUID, seconds: float, *, whole: bool) -> bytes:
    with context.open_file(file) as source:
        encoded: bytes = source.read()
    if whole:
        return encoded
    samples, _ = soundfile.read(io.BytesIO(encoded), frames=round(seconds * RATE), dtype="float64")
    return flac([samples])


def _figure(context: StepContext[ShootoutParams], picture: Picture) -> str:
    with context.open_file(picture.file) as source:
        image = _text(source.read())
    title = html.escape(picture.title)
    return (
        f"<figure><figcaption>{title}</figcaption>"
        f'<img alt="{title} of all tracks" src="data:image/png;base64,{image}"></figure>'
    )


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
