"""Measures a render: loudness, outline and spectrum. It works in pieces to save memory."""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from pyloudnorm import IIRfilter
from scipy.signal import lfilter

from headrace.pipelines.shootout.blocks import RATE
from headrace.pipelines.shootout.outputs import Spectrum
from headrace.pipelines.shootout.oversampling import Recording, Samples

_MEASURED_RMS: Final = 0.1  # -20 dBFS RMS
_PIECE_SAMPLES: Final = 1 << 16
_SEGMENT_SAMPLES: Final = 8192
_MIN_DB: Final = -200.0

# BS.1770-4: blocks of 400 ms that begin every 100 ms, and two gates. The filters are those of pyloudnorm.
_HOP_SAMPLES: Final = RATE // 10
_HOPS_A_BLOCK: Final = 4
_HOPS_A_PIECE: Final = 14
_BLOCK_SAMPLES: Final = _HOPS_A_BLOCK * _HOP_SAMPLES
_ABSOLUTE_GATE, _RELATIVE_GATE = -70.0, -10.0
_K_WEIGHTING: Final = (
    (4.0, 1 / math.sqrt(2), 1_500.0, RATE, "high_shelf"),
    (0.0, 0.5, 38.0, RATE, "high_pass"),
)


def in_decibels(value: float) -> float:
    return 20 * math.log10(value) if value > 0 else _MIN_DB


def pieces(recording: Recording | Samples, size: int = _PIECE_SAMPLES) -> Iterator[Samples]:
    """Yield *recording* in pieces of *size*, as 64-bit floats."""
    for start in range(0, len(recording), size):
        yield recording[start : start + size].astype(np.float64)


def loudness(recording: Recording | Samples) -> float:
    """Return the loudness of one channel in LUFS (ITU-R BS.1770-4, integrated); minus infinity for silence.

    The standard has an absolute gate of -70 LUFS, so the result for a quiet sound depends on its level. A
    render gets its level later, so it is measured near that level. It is at least one block long.
    """
    power = sum(float(np.sum(np.square(piece))) for piece in pieces(recording))
    level = math.sqrt(power / len(recording))
    if level == 0:
        return -math.inf
    gain = _MEASURED_RMS / level
    hops = np.array([power for piece in _weighted(recording, gain) for power in _hop_powers(piece)])
    # A last block that lacks at most half a hop counts as well.
    count = round((len(recording) - _BLOCK_SAMPLES) / _HOP_SAMPLES) + 1
    blocks = np.convolve(hops, np.full(_HOPS_A_BLOCK, 1 / _BLOCK_SAMPLES), "valid")[:count]
    audible = blocks[blocks >= _power_of(_ABSOLUTE_GATE)]
    if not len(audible):
        return -math.inf
    gate = _power_of(_loudness_of(float(audible.mean())) + _RELATIVE_GATE)
    return _loudness_of(float(audible[audible > gate].mean())) - in_decibels(gain)


def _weighted(recording: Recording | Samples, gain: float) -> Iterator[Samples]:
    """Yield *recording* times *gain* in pieces of whole hops, through the filters of the K-weighting."""
    filters = [IIRfilter(*arguments) for arguments in _K_WEIGHTING]
    states = [np.zeros(max(len(stage.a), len(stage.b)) - 1) for stage in filters]
    for piece in pieces(recording, _HOPS_A_PIECE * _HOP_SAMPLES):
        weighted = piece * gain
        for number, stage in enumerate(filters):
            weighted, states[number] = lfilter(stage.b, stage.a, weighted, zi=states[number])
            weighted = weighted * stage.passband_gain
        yield weighted


def _hop_powers(piece: Samples) -> Samples:
    starts = np.arange(0, len(piece), _HOP_SAMPLES)
    powers: Samples = np.add.reduceat(np.square(piece), starts)
    return powers


def _loudness_of(power: float) -> float:
    return -0.691 + 10 * math.log10(power)


def _power_of(loudness: float) -> float:
    return float(10 ** ((loudness + 0.691) / 10))


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
