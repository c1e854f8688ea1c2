"""What is measured on a render: loudness, peaks, its outline and its spectrum. In pieces, to spare memory."""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyloudnorm

from headrace.pipelines.shootout.blocks import RATE
from headrace.pipelines.shootout.outputs import Spectrum
from headrace.pipelines.shootout.oversampling import Recording, Samples

_MEASURED_AT: Final = 0.1  # -20 dBFS RMS
_PIECE: Final = 1 << 16
_SEGMENT: Final = 8192
_LOWEST_DB: Final = -200.0


def in_decibels(value: float) -> float:
    return 20 * math.log10(value) if value > 0 else _LOWEST_DB


def pieces(recording: Recording, size: int = _PIECE) -> Iterator[Samples]:
    """*recording* from front to back, as samples to calculate with."""
    for start in range(0, len(recording), size):
        yield recording[start : start + size].astype(np.float64)


def loudness(recording: Recording | Samples) -> float:
    """Integrated loudness of one channel after ITU-R BS.1770-4, in LUFS; minus infinity for silence.

    The standard's absolute gate of -70 LUFS would make a quiet sound's figure depend on its level. A render
    gets its level later, so it is measured near the level that it will have.
    """
    level = math.sqrt(float(np.mean(np.square(recording, dtype=np.float64))))
    if level == 0:
        return -math.inf
    gain = _MEASURED_AT / level
    measured = pyloudnorm.Meter(RATE).integrated_loudness(recording.astype(np.float64) * gain)
    return float(measured) - in_decibels(gain)


def outline(recording: Recording, points: int = 900) -> tuple[list[float], list[float]]:
    """The lowest and highest sample of *points* equal stretches, at three significant digits."""
    edges = np.linspace(0, len(recording), points + 1).astype(int)[:-1]
    low, high = np.minimum.reduceat(recording, edges), np.maximum.reduceat(recording, edges)
    return [float(f"{value:.3g}") for value in low], [float(f"{value:.3g}") for value in high]


def spectrum(recording: Recording, bands: int = 180) -> Spectrum:
    """Welch's average, then in *bands* from 40 Hz to 16 kHz, each a sixth of an octave wide."""
    window = np.hanning(_SEGMENT)
    # A render of the shortest DI is longer than two segments.
    starts = range(0, len(recording) - _SEGMENT + 1, _SEGMENT // 2)
    power = np.zeros(_SEGMENT // 2 + 1)
    for start in starts:
        power += np.abs(np.fft.rfft(recording[start : start + _SEGMENT] * window)) ** 2
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
