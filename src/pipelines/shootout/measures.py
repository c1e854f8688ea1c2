"""Measures a render: loudness, outline and spectrum. It works in pieces to save memory."""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyloudnorm

from headrace.pipelines.shootout.blocks import RATE
from headrace.pipelines.shootout.outputs import Spectrum
from headrace.pipelines.shootout.oversampling import Recording, Samples

_MEASURED_RMS: Final = 0.1  # -20 dBFS RMS
_PIECE_SAMPLES: Final = 1 << 16
_SEGMENT_SAMPLES: Final = 8192
_MIN_DB: Final = -200.0


def in_decibels(value: float) -> float:
    return 20 * math.log10(value) if value > 0 else _MIN_DB


def pieces(recording: Recording, size: int = _PIECE_SAMPLES) -> Iterator[Samples]:
    """Yield *recording* in pieces of *size*, as 64-bit floats."""
    for start in range(0, len(recording), size):
        yield recording[start : start + size].astype(np.float64)


def loudness(recording: Recording | Samples) -> float:
    """Return the loudness of one channel in LUFS (ITU-R BS.1770-4, integrated); minus infinity for silence.

    The standard has an absolute gate of -70 LUFS, so the result for a quiet sound depends on its level. A
    render gets its level later, so it is measured near that level.
    """
    level = math.sqrt(float(np.mean(np.square(recording, dtype=np.float64))))
    if level == 0:
        return -math.inf
    gain = _MEASURED_RMS / level
    measured = pyloudnorm.Meter(RATE).integrated_loudness(recording.astype(np.float64) * gain)
    return float(measured) - in_decibels(gain)


def outline(recording: Recording, points: int = 900) -> tuple[list[float], list[float]]:
    """Return the lowest and highest samples of *points* equal stretches, to three significant digits."""
    edges = np.linspace(0, len(recording), points + 1).astype(int)[:-1]
    low, high = np.minimum.reduceat(recording, edges), np.maximum.reduceat(recording, edges)
    return [float(f"{value:.3g}") for value in low], [float(f"{value:.3g}") for value in high]


def spectrum(recording: Recording, bands: int = 180) -> Spectrum:
    """Return Welch's average in *bands* from 40 Hz to 16 kHz, each a sixth of an octave wide."""
    window = np.hanning(_SEGMENT_SAMPLES)
    # Even the shortest render is longer than two segments.
    starts = range(0, len(recording) - _SEGMENT_SAMPLES + 1, _SEGMENT_SAMPLES // 2)
    power = np.zeros(_SEGMENT_SAMPLES // 2 + 1)
    for start in starts:
        power += np.abs(np.fft.rfft(recording[start : start + _SEGMENT_SAMPLES] * window)) ** 2
    power /= len(starts) * float(np.sum(window)) ** 2 / 4
    frequencies = np.geomspace(40, 16_000, bands)
    bins, half = np.fft.rfftfreq(_SEGMENT_SAMPLES, 1 / RATE), 2 ** (1 / 12)
    # Interpolate the cumulative power, so that a band narrower than a bin gets its share of the bin.
    below = np.concatenate([[0.0], np.cumsum(power)])
    borders = np.concatenate([bins - bins[1] / 2, [bins[-1] + bins[1] / 2]])
    shares = np.interp(frequencies * half, borders, below) - np.interp(frequencies / half, borders, below)
    levels = [max(_MIN_DB, 10 * math.log10(share)) if share > 0 else _MIN_DB for share in shares]
    return Spectrum(
        frequencies=[round(float(f), 1) for f in frequencies], levels_db=[round(level, 2) for level in levels]
    )
