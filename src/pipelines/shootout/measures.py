"""What is measured on a render: loudness, peaks, its outline and its spectrum. In pieces, to spare memory."""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from pipelines.shootout.blocks import RATE
from pipelines.shootout.filters import Filters, Section
from pipelines.shootout.outputs import Spectrum
from pipelines.shootout.oversampling import Recording, Samples

# The two stages of the K-weighting at 48 kHz: ITU-R BS.1770-5, annex 1, tables 1 and 2.
_K_WEIGHTING: Final[tuple[Section, Section]] = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585),
    (1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621),
)
_HOP: Final = RATE // 10  # a block of 400 ms begins every 100 ms
_PIECE: Final = 1 << 16
_SEGMENT: Final = 8192
_LOWEST_DB: Final = -200.0


def in_decibels(value: float) -> float:
    return 20 * math.log10(value) if value > 0 else _LOWEST_DB


def pieces(recording: Recording, size: int = _PIECE) -> Iterator[Samples]:
    """*recording* from front to back, as samples to calculate with."""
    for start in range(0, len(recording), size):
        yield recording[start : start + size].astype(np.float64)


class Loudness:
    """Integrated loudness of one channel after ITU-R BS.1770-5, in LUFS."""

    def __init__(self) -> None:
        self._weighting = Filters(_K_WEIGHTING)
        self._hops: list[float] = []
        self._rest = np.zeros(0)

    def add(self, chunk: Samples) -> None:
        power = np.concatenate([self._rest, self._weighting.process(chunk) ** 2])
        whole = len(power) // _HOP * _HOP
        self._hops.extend(power[:whole].reshape(-1, _HOP).sum(axis=1))
        self._rest = power[whole:]

    def finish(self) -> float:
        """The loudness; minus infinity for silence.

        The standard's absolute gate of -70 LUFS would make a quiet sound's figure depend on its level. A
        render gets its level later, so the gate is put where it is for a sound at -16 LUFS: 54 LU below.
        """
        samples = len(self._hops) * _HOP + len(self._rest)
        # Like pyloudnorm, a last block counts when more than half of its own 100 ms is there.
        count = max(1, round(samples / _HOP - 4) + 1)
        hops = np.array([*self._hops, float(np.sum(self._rest)), 0.0, 0.0, 0.0, 0.0])
        powers = np.convolve(hops, np.ones(4), "valid")[:count] / (4 * _HOP)
        powers = powers[powers > 0]
        if not len(powers):
            return -math.inf
        levels = -0.691 + 10 * np.log10(powers)
        loudness = float(np.max(levels))
        for _ in range(2):
            loudness = _gated(powers, levels, floor=loudness - 54)
        return loudness


def _gated(powers: Samples, levels: Samples, *, floor: float) -> float:
    audible = levels >= floor
    relative = -0.691 + 10 * math.log10(float(np.mean(powers[audible]))) - 10
    return -0.691 + 10 * math.log10(float(np.mean(powers[audible & (levels > relative)])))


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
