"""What other libraries measure. Only the tests that need it import SciPy, which takes a second."""

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray


def integrated_loudness(samples: NDArray[Any], rate: int = 48_000) -> float:
    """Return the loudness in LUFS according to pyloudnorm."""
    meter: Any = import_module("pyloudnorm").Meter(rate)
    return float(meter.integrated_loudness(samples))


def peak_between_samples(samples: NDArray[Any]) -> float:
    """Return the highest absolute value of the sound in between, at four times the rate."""
    signal: Any = import_module("scipy.signal")
    return float(np.max(np.abs(signal.resample_poly(samples, 4, 1))))


def low_pass_taps(taps: int, cutoff: float) -> NDArray[Any]:
    """Return the Kaiser-windowed low pass of SciPy."""
    signal: Any = import_module("scipy.signal")
    filtered: NDArray[Any] = signal.firwin(taps, cutoff, window=("kaiser", 5.0))
    return filtered
