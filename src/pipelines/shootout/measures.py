"""What is measured on a render: loudness, peaks, its outline and its spectrum."""

import math

import numpy as np
import pyloudnorm

from pipelines.shootout.blocks import RATE, decibels
from pipelines.shootout.outputs import Spectrum
from pipelines.shootout.oversampling import Samples

_REFERENCE_LUFS = -16.0
_SEGMENT = 8192
_LOWEST_DB = -200.0


def in_decibels(value: float) -> float:
    return 20 * math.log10(value) if value > 0 else _LOWEST_DB


def loudness(samples: Samples) -> float:
    """Integrated loudness in LUFS (BS.1770); minus infinity when nothing passes its gate.

    Its absolute gate would make a quiet sound's figure depend on its level, so the sound is brought near
    the level it will have, and measured there.
    """
    meter = pyloudnorm.Meter(RATE)
    peak = float(np.max(np.abs(samples), initial=0.0))
    if peak == 0.0:
        return -math.inf
    first = float(meter.integrated_loudness(samples / peak))
    if not math.isfinite(first):
        return -math.inf
    shift = _REFERENCE_LUFS - first
    return float(meter.integrated_loudness(samples * (decibels(shift) / peak))) - shift + in_decibels(peak)


def outline(samples: Samples, points: int = 900) -> tuple[list[float], list[float]]:
    """The lowest and highest sample of *points* equal stretches, at three significant digits."""
    edges = np.linspace(0, len(samples), points + 1).astype(int)[:-1]
    low, high = np.minimum.reduceat(samples, edges), np.maximum.reduceat(samples, edges)
    return [float(f"{value:.3g}") for value in low], [float(f"{value:.3g}") for value in high]


def spectrum(samples: Samples, bands: int = 180) -> Spectrum:
    """Welch's average, then in *bands* from 40 Hz to 16 kHz, each a sixth of an octave wide."""
    window = np.hanning(_SEGMENT)
    padded = np.concatenate([samples, np.zeros(max(0, _SEGMENT - len(samples)))])
    starts = range(0, len(padded) - _SEGMENT + 1, _SEGMENT // 2)
    power = np.zeros(_SEGMENT // 2 + 1)
    for start in starts:
        power += np.abs(np.fft.rfft(padded[start : start + _SEGMENT] * window)) ** 2
    power /= len(starts) * float(np.sum(window)) ** 2 / 4
    frequencies = np.geomspace(40, 16_000, bands)
    bins, half = np.fft.rfftfreq(_SEGMENT, 1 / RATE), 2 ** (1 / 12)
    # Between the sums of all bins below, so that a band narrower than a bin gets its share of it.
    below = np.concatenate([[0.0], np.cumsum(power)])
    borders = np.concatenate([bins - bins[1] / 2, [bins[-1] + bins[1] / 2]])
    shares = np.interp(frequencies * half, borders, below) - np.interp(frequencies / half, borders, below)
    levels = [max(_LOWEST_DB, 10 * math.log10(share)) if share > 0 else _LOWEST_DB for share in shares]
    return Spectrum(
        frequencies=[round(float(f), 1) for f in frequencies], levels_db=[round(level, 2) for level in levels]
    )
