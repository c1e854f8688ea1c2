"""What `render` does for one chain: the DI through its blocks, 4096 samples at a time, then measured."""

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

CHUNK = 4096
_MEASURE_COST = 9.0  # in the units of `blocks.cost`, a sample
_QUIETEST = 1e-6  # -120 dBFS: nothing that one could bring to a loudness
_LOUDEST = 1e9  # +180 dBFS: on the way to overflow


class BrokenSoundError(Exception):
    """A sound grew past all bounds behind *block*, counted from 1."""

    def __init__(self, block: int) -> None:
        super().__init__(f"the sound grew past all bounds in block {block}")
        self.block = block


@dataclass(frozen=True)
class Levels:
    """What a whole render amounts to, as factors of full scale but for *lufs*."""

    lufs: float
    true_peak: float
    rms: float


def render_chain(context: StepContext[ShootoutParams], chain: Chain, prepared: Prepared) -> Render:
    """Raises: RenderFailedError, naming chain and block, for a silent or infinite sound."""
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
    fade = RATE // 100  # no click at the end, nor in a loop
    rendered[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    levels = measure(rendered, on_samples=on_measured)
    if not math.isfinite(levels.lufs) or levels.true_peak < _QUIETEST:
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
    chunk: int = CHUNK,
    on_samples: Callable[[int], None] | None = None,
) -> tuple[Recording, list[float]]:
    """*di* through all *processors* without their latency, and the peak behind each.

    Raises:
        BrokenSoundError: a sound grew past all bounds.
    """
    late = sum(processor.latency for processor in processors)
    rendered = np.zeros(len(di), np.float32)
    peaks = [0.0] * len(processors)
    for start in range(0, len(di) + late, chunk):
        piece = di[start : start + chunk].astype(np.float64)
        # Zeros drive out what the blocks still hold.
        piece = np.concatenate([piece, np.zeros(min(chunk, len(di) + late - start) - len(piece))])
        for place, processor in enumerate(processors):
            piece = processor.process(piece)
            peak = float(np.max(np.abs(piece)))  # NaN stays NaN
            if not peak < _LOUDEST:
                raise BrokenSoundError(place + 1)
            peaks[place] = max(peaks[place], peak)
        piece = piece[max(0, late - start) :]
        at = max(0, start - late)
        rendered[at : at + len(piece)] = piece
        if on_samples is not None:
            on_samples(min(start + chunk, len(di)))
    return rendered, peaks


def measure(rendered: Recording, *, on_samples: Callable[[int], None] | None = None) -> Levels:
    """Loudness, peak and power of *rendered*."""
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
    number = next((n for n, peak in enumerate(peaks, start=1) if peak < _QUIETEST), None)
    return f"{_place(chain, number) if number else f'chain {chain.name!r}'}: nothing audible comes out"
