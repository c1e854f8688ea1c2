"""Between the rate and a multiple of it, in a stream: chunk borders leave no trace."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
# A whole track. Ten minutes are 115 MB like this, and many chains may be at work at once.
Recording = NDArray[np.float32]


def low_pass(factor: int, reach: int, beta: float) -> Samples:
    """A linear-phase filter at *factor* times the rate that ends at half the rate: Kaiser-windowed sinc.

    It reaches *reach* samples of the original rate to each side. With 10 and 5.0 it is the filter that
    `scipy.signal.resample_poly` uses.
    """
    places = np.arange(-reach * factor, reach * factor + 1)
    taps = np.sinc(places / factor) * np.kaiser(len(places), beta)
    return np.asarray(taps / taps.sum(), dtype=np.float64)


class Upsampler:
    """Samples in, *factor* times as many out, later by *reach* samples of the original rate."""

    def __init__(self, factor: int, *, reach: int = 32, beta: float = 8.0) -> None:
        taps = low_pass(factor, reach, beta) * factor
        self.factor, self.latency = factor, reach
        # Every phase of the filter gets the same length, so that one history serves them all.
        padded = np.concatenate([taps, np.zeros(factor - 1)])
        self._phases = [padded[phase::factor] for phase in range(factor)]
        self._past = np.zeros(2 * reach)

    def process(self, chunk: Samples) -> Samples:
        seen = np.concatenate([self._past, chunk])
        self._past = seen[len(seen) - len(self._past) :]
        risen = np.empty(len(chunk) * self.factor)
        for phase, taps in enumerate(self._phases):
            risen[phase :: self.factor] = np.convolve(seen, taps, "valid")
        return risen


class Downsampler:
    """*factor* samples in, one out, later by *reach* samples of the original rate."""

    def __init__(self, factor: int, *, reach: int = 32, beta: float = 8.0) -> None:
        taps = low_pass(factor, reach, beta)
        self.factor, self.latency = factor, reach
        padded = np.concatenate([taps, np.zeros(factor - 1)])
        self._phases = [padded[phase::factor] for phase in range(factor)]
        self._past = np.zeros((2 * reach + 1) * factor - 1)

    def process(self, chunk: Samples) -> Samples:
        """Of each *factor* samples, what is left at the first one. The chunk is a multiple of *factor*."""
        seen = np.concatenate([self._past, chunk])
        self._past = seen[len(seen) - len(self._past) :]
        fallen = np.zeros(len(chunk) // self.factor)
        for phase, taps in enumerate(self._phases):
            # The output at n needs the samples n * factor - phase, then every factor-th before that.
            lane = seen[self.factor - 1 - phase :: self.factor]
            fallen += np.convolve(lane, taps, "valid")[: len(fallen)]
        return fallen


class TruePeak:
    """The largest absolute value at four times the rate (ITU-R BS.1770-5, annex 2), 1.0 = full scale."""

    def __init__(self) -> None:
        self._upsampler = Upsampler(4, reach=10, beta=5.0)
        self._highest = 0.0

    def add(self, chunk: Samples) -> None:
        risen = self._upsampler.process(chunk)
        self._highest = max(self._highest, float(np.max(np.abs(chunk))), float(np.max(np.abs(risen))))

    def finish(self) -> float:
        self.add(np.zeros(2 * self._upsampler.latency))
        return self._highest
