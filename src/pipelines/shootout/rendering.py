"""Runs the step `render` for one chain: sends the DI through its blocks in chunks, then measures it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from headrace import StepContext
from headrace.pipelines.shootout import audio, blocks, measures
from headrace.pipelines.shootout.blocks import RATE, Processor
from headrace.pipelines.shootout.errors import RenderFailedError
from headrace.pipelines.shootout.inputs import load_response
from headrace.pipelines.shootout.measures import in_decibels
from headrace.pipelines.shootout.naming import numbered
from headrace.pipelines.shootout.outputs import Prepared, Render
from headrace.pipelines.shootout.oversampling import Recording, TruePeak
from headrace.pipelines.shootout.params import Chain, Ir, ShootoutParams

CHUNK_SAMPLES = 4096
_MEASURE_COST = 9.0  # in the units of `blocks.cost`, a sample
_MIN_PEAK = 1e-6  # -120 dBFS: too quiet for any loudness
_MAX_PEAK = 1e9  # +180 dBFS: about to overflow


class BrokenSoundError(Exception):
    """The sound diverged in *block*, counted from 1."""

    def __init__(self, block: int) -> None:
        super().__init__(f"the sound grew past all bounds in block {block}")
        self.block = block


@dataclass(frozen=True)
class Levels:
    """The levels of a whole render, as factors of full scale except *lufs*."""

    lufs: float
    true_peak: float
    rms: float


def render_chain(context: StepContext[ShootoutParams], chain: Chain, prepared: Prepared) -> Render:
    """Render and measure one chain.

    Raises:
        RenderFailedError: the sound is silent or infinite; the message names chain and block.
    """
    with context.open_file(prepared.file) as source:
        di = audio.read_own(source)
    processors = [
        blocks.processor(
            block, load_response(context, block, _place(chain, number)) if isinstance(block, Ir) else None
        )
        for number, block in enumerate(chain.blocks, start=1)
    ]
    chain_cost = 1.0 + sum(blocks.cost(block) for block in chain.blocks)
    total = len(di) * (chain_cost + _MEASURE_COST)

    def on_rendered(done: int) -> None:
        context.raise_if_cancelled()
        context.progress(done * chain_cost, total, f"{done / len(di):.0%} rendered")

    def on_measured(done: int) -> None:
        context.raise_if_cancelled()
        context.progress(len(di) * chain_cost + done * _MEASURE_COST, total, "measuring")

    try:
        rendered, peaks = run(processors, di, on_samples=on_rendered)
    except BrokenSoundError as error:
        raise RenderFailedError(f"{_place(chain, error.block)}: the sound grew past all bounds") from error
    fade = RATE // 100  # avoids a click at the end and in a loop
    rendered[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    levels = measure(rendered, on_samples=on_measured)
    if not math.isfinite(levels.lufs) or levels.true_peak < _MIN_PEAK:
        raise RenderFailedError(_silence(chain, peaks))
    low, high = measures.outline(rendered)
    name = f"render-{numbered(context.params, chain)}.wav"
    render = Render(
        chain=chain.name,
        file=context.save_file(name, audio.write_float_wav(context.scratch / name, rendered), "audio/wav"),
        lufs=levels.lufs,
        true_peak_dbtp=in_decibels(levels.true_peak),
        rms_dbfs=in_decibels(levels.rms),
        low=low,
        high=high,
        spectrum=measures.spectrum(rendered),
    )
    context.progress(total, total, "rendered and measured")
    return render


def run(
    processors: Sequence[Processor],
    di: Recording,
    *,
    chunk: int = CHUNK_SAMPLES,
    on_samples: Callable[[int], None] | None = None,
) -> tuple[Recording, list[float]]:
    """Send *di* through all *processors*; return the sound without their latency, and the peak after each.

    Raises:
        BrokenSoundError: the sound diverged.
    """
    latency = sum(processor.latency for processor in processors)
    rendered = np.zeros(len(di), np.float32)
    peaks = [0.0] * len(processors)
    for start in range(0, len(di) + latency, chunk):
        piece = di[start : start + chunk].astype(np.float64)
        # Zeros flush the rest of the sound out of the blocks.
        piece = np.concatenate([piece, np.zeros(min(chunk, len(di) + latency - start) - len(piece))])
        for index, processor in enumerate(processors):
            piece = processor.process(piece)
            peak = float(np.max(np.abs(piece)))  # NaN stays NaN
            if not peak < _MAX_PEAK:
                raise BrokenSoundError(index + 1)
            peaks[index] = max(peaks[index], peak)
        piece = piece[max(0, latency - start) :]
        at = max(0, start - latency)
        rendered[at : at + len(piece)] = piece
        if on_samples is not None:
            on_samples(min(start + chunk, len(di)))
    return rendered, peaks


def measure(rendered: Recording, *, on_samples: Callable[[int], None] | None = None) -> Levels:
    """Measure loudness, peak and power of *rendered*."""
    true_peak = TruePeak()
    power, done = 0.0, 0
    for piece in measures.pieces(rendered):
        true_peak.add(piece)
        power += float(np.sum(piece**2))
        done += len(piece)
        if on_samples is not None:
            on_samples(done)
    return Levels(measures.loudness(rendered), true_peak.finish(), math.sqrt(power / len(rendered)))


def _place(chain: Chain, number: int) -> str:
    return f"chain {chain.name!r}, block {number} ({chain.blocks[number - 1].__struct_config__.tag})"


def _silence(chain: Chain, peaks: Sequence[float]) -> str:
    number = next((n for n, peak in enumerate(peaks, start=1) if peak < _MIN_PEAK), None)
    return f"{_place(chain, number) if number else f'chain {chain.name!r}'}: nothing audible comes out"
