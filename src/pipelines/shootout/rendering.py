"""What `render` does for one chain: the DI through its blocks, 4096 samples at a time."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from headrace import PermanentError, StepContext
from pipelines.shootout import audio, blocks, measures
from pipelines.shootout.blocks import RATE, Processor
from pipelines.shootout.inputs import load_response
from pipelines.shootout.naming import numbered
from pipelines.shootout.outputs import Prepared, Render
from pipelines.shootout.oversampling import Samples, true_peak
from pipelines.shootout.params import Chain, Ir, ShootoutParams

CHUNK = 4096
_MEASURE_COST = 15.0  # in the units of `blocks.cost`, a sample
_QUIETEST = 1e-6  # -120 dBFS: nothing that one could bring to a loudness
_LOUDEST = 1e9  # +180 dBFS: on the way to overflow


class BrokenSoundError(Exception):
    """A block's sound stopped being finite; *block* counts from 1."""

    def __init__(self, block: int, why: str) -> None:
        super().__init__(why)
        self.block, self.why = block, why


def render_chain(context: StepContext[ShootoutParams], chain: Chain, prepared: Prepared) -> Render:
    """Raises: PermanentError (`render_failed`), naming chain and block, for a silent or infinite sound."""
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

    def on_samples(done: int) -> None:
        context.raise_if_cancelled()
        context.progress(done * chain_cost, total, f"{done / len(di):.0%} rendered")

    try:
        rendered, peaks = run(processors, di, on_samples=on_samples)
    except BrokenSoundError as broken:
        message = f"{_place(chain, broken.block)}: {broken.why}"
        raise PermanentError(message, code="render_failed") from broken
    rendered[-RATE // 100 :] *= np.linspace(1, 0, RATE // 100)  # no click at the end, nor in a loop
    lufs = measures.loudness(rendered)
    if not math.isfinite(lufs) or float(np.max(np.abs(rendered))) < _QUIETEST:
        raise PermanentError(_silence(chain, peaks), code="render_failed")
    context.raise_if_cancelled()
    low, high = measures.outline(rendered)
    render = Render(
        chain=chain.name,
        file=context.save_file(
            f"render-{numbered(context.params, chain)}.wav", audio.float_wav(rendered), "audio/wav"
        ),
        lufs=lufs,
        true_peak_dbtp=measures.in_decibels(true_peak(rendered)),
        rms_dbfs=measures.in_decibels(float(np.sqrt(np.mean(rendered**2)))),
        low=low,
        high=high,
        spectrum=measures.spectrum(rendered),
    )
    context.progress(total, total, "rendered and measured")
    return render


def run(
    processors: Sequence[Processor],
    di: Samples,
    *,
    chunk: int = CHUNK,
    on_samples: Callable[[int], None] | None = None,
) -> tuple[Samples, list[float]]:
    """*di* through all *processors* without their latency, and the peak behind each.

    Raises:
        BrokenSoundError: a sound grew past all bounds.
    """
    late = sum(processor.latency for processor in processors)
    fed = np.concatenate([di, np.zeros(late)])
    rendered = np.empty_like(fed)
    peaks = [0.0] * len(processors)
    for start in range(0, len(fed), chunk):
        piece = fed[start : start + chunk]
        for place, processor in enumerate(processors):
            piece = processor.process(piece)
            peak = float(np.max(np.abs(piece)))  # NaN stays NaN
            if not peak < _LOUDEST:
                raise BrokenSoundError(place + 1, "the sound grew past all bounds")
            peaks[place] = max(peaks[place], peak)
        rendered[start : start + chunk] = piece
        if on_samples is not None:
            on_samples(min(start + chunk, len(di)))
    return rendered[late:], peaks


def _place(chain: Chain, number: int) -> str:
    return f"chain {chain.name!r}, block {number} ({chain.blocks[number - 1].__struct_config__.tag})"


def _silence(chain: Chain, peaks: Sequence[float]) -> str:
    number = next((n for n, peak in enumerate(peaks, start=1) if peak < _QUIETEST), None)
    return f"{_place(chain, number) if number else f'chain {chain.name!r}'}: nothing audible comes out"
