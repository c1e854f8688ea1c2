"""Converts a stream of samples to a multiple of its rate and back, without seams between chunks."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
# A whole track has 32-bit floats, since ten minutes take 115 MB and many chains run at once.
Recording = NDArray[np.float32]


def low_pass(factor: int, reach: int, beta: float) -> Samples:
    """Return a linear-phase low-pass at *factor* times the rate that ends at half the rate.

    It is a Kaiser-windowed sinc that reaches *reach* samples of the original rate to each side. With 10 and
    5.0 it is the filter that `scipy.signal.resample_poly` uses.
    """
    places = np.arange(-reach * factor, reach * factor + 1)
    taps = np.sinc(places / factor) * np.kaiser(len(places), beta)
    return np.asarray(taps / taps.sum(), dtype=np.float64)


class Upsampler:
    """Returns *factor* times as many samples, delayed by *reach* samples of the original rate."""

    def __init__(self, factor: int, *, reach: int = 32, beta: float = 8.0) -> None:
        taps = low_pass(factor, reach, beta) * factor
        self.factor, self.latency = factor, reach
        # All phases of the filter get the same length, so that they share one history.
        padded = np.concatenate([taps, np.zeros(factor - 1)])
        self._phases = [padded[phase::factor] for phase in range(factor)]
        self._past = np.zeros(2 * reach)

    def process(self, chunk: Samples) -> Samples:
        history = np.concatenate([self._past, chunk])
        self._past = history[len(history) - len(self._past) :]
        upsampled = np.empty(len(chunk) * self.factor)
        for phase, taps in enumerate(self._phases):
            upsampled[phase :: self.factor] = np.convolve(history, taps, "valid")
        return upsampled


class Downsampler:
    """Returns one sample for *factor* samples, delayed by *reach* samples of the lower rate."""

    def __init__(self, factor: int, *, reach: int = 32, beta: float = 8.0) -> None:
        taps = low_pass(factor, reach, beta)
        self.factor, self.latency = factor, reach
        padded = np.concatenate([taps, np.zeros(factor - 1)])
        self._phases = [padded[phase::factor] for phase in range(factor)]
        self._past = np.zeros((2 * reach + 1) * factor - 1)

    def process(self, chunk: Samples) -> Samples:
        """Filter *chunk* and keep every *factor*-th sample. Its length is a multiple of *factor*."""
        history = np.concatenate([self._past, chunk])
        self._past = history[len(history) - len(self._past) :]
        downsampled = np.zeros(len(chunk) // self.factor)
        for phase, taps in enumerate(self._phases):
            # The output at n needs the samples n * factor - phase, then every factor-th before that.
            lane = history[self.factor - 1 - phase :: self.factor]
            downsampled += np.convolve(lane, taps, "valid")[: len(downsampled)]
        return downsampled


class TruePeak:
    """The largest absolute value at four times the rate (ITU-R BS.1770-5, annex 2), 1.0 = full scale."""

    def __init__(self) -> None:
        self._upsampler = Upsampler(4, reach=10, beta=5.0)
        self._highest = 0.0

    def add(self, chunk: Samples) -> None:
        upsampled = self._upsampler.process(chunk)
        self._highest = max(self._highest, float(np.max(np.abs(chunk))), float(np.max(np.abs(upsampled))))

    def finish(self) -> float:
        self.add(np.zeros(2 * self._upsampler.latency))
        return self._highest
