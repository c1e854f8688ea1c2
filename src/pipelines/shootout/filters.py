"""The filters of an `eq` block: second-order sections after R. Bristow-Johnson's Audio EQ Cookbook."""

import math
from collections.abc import Sequence

import numpy as np

from headrace.pipelines.shootout.oversampling import Samples
from headrace.pipelines.shootout.params import Band, HighPass, HighShelf, LowPass, LowShelf, Peak

Section = tuple[float, float, float, float, float, float]


def section(band: Band, rate: int) -> Section:
    """Return b0 b1 b2 a0 a1 a2 of *band* at *rate*, with a0 = 1."""
    omega = 2 * math.pi * band.frequency / rate
    cos, alpha = math.cos(omega), math.sin(omega) / (2 * band.q)
    match band:
        case HighPass():
            b = ((1 + cos) / 2, -(1 + cos), (1 + cos) / 2)
            a = (1 + alpha, -2 * cos, 1 - alpha)
        case LowPass():
            b = ((1 - cos) / 2, 1 - cos, (1 - cos) / 2)
            a = (1 + alpha, -2 * cos, 1 - alpha)
        case Peak(gain_db=gain_db):
            root = 10 ** (gain_db / 40)
            b = (1 + alpha * root, -2 * cos, 1 - alpha * root)
            a = (1 + alpha / root, -2 * cos, 1 - alpha / root)
        case LowShelf(gain_db=gain_db) | HighShelf(gain_db=gain_db):
            # The cookbook's high shelf is its low shelf with the sign of every cosine inverted.
            side = cos if isinstance(band, LowShelf) else -cos
            sign = 1 if isinstance(band, LowShelf) else -1
            root = 10 ** (gain_db / 40)
            slope = 2 * math.sqrt(root) * alpha
            b = (
                root * ((root + 1) - (root - 1) * side + slope),
                sign * 2 * root * ((root - 1) - (root + 1) * side),
                root * ((root + 1) - (root - 1) * side - slope),
            )
            a = (
                (root + 1) + (root - 1) * side + slope,
                sign * -2 * ((root - 1) + (root + 1) * side),
                (root + 1) + (root - 1) * side - slope,
            )
    return (b[0] / a[0], b[1] / a[0], b[2] / a[0], 1.0, a[1] / a[0], a[2] / a[0])


class Filters:
    """A cascade of second-order sections with its state."""

    latency = 0

    def __init__(self, sections: Sequence[Section]) -> None:
        self._sections = np.array(sections)
        self._state = np.zeros((len(sections), 2))

    def process(self, chunk: Samples) -> Samples:
        from scipy.signal import sosfilt  # noqa: PLC0415 - takes 0.7 s; only filters need it

        filtered, self._state = sosfilt(self._sections, chunk, zi=self._state)
        return np.asarray(filtered, dtype=np.float64)
