"""Processes sound through the blocks of a chain, in chunks of any size without seams between them."""

from typing import Final, Protocol

import numpy as np

from headrace.pipelines.shootout.filters import Filters, section
from headrace.pipelines.shootout.oversampling import Downsampler, Samples, Upsampler
from headrace.pipelines.shootout.params import Block, Delay, Drive, Eq, Gain, HighPass, Ir

RATE: Final = 48_000


class Processor(Protocol):
    """A block with its state. Its output is *latency* samples late; as many zeros at the end flush it."""

    @property
    def latency(self) -> int: ...

    def process(self, chunk: Samples) -> Samples: ...


def processor(block: Block, response: Samples | None = None) -> Processor:
    """Build the processor of *block*. *response* is the impulse response of an `ir` block."""
    match block:
        case Gain():
            return Amplifier(decibels(block.db))
        case Eq():
            return Filters([section(band, RATE) for band in block.bands])
        case Drive():
            return Waveshaper(block)
        case Delay():
            return Echo(block)
        case Ir():
            if response is None:
                raise ValueError("an ir block needs its response")
            return Convolver(response)


def cost(block: Block) -> float:
    """Return the cost of one sample in units of about 10 ns, as measured in chunks of 4096 samples."""
    match block:
        case Gain():
            return 0.1
        case Eq():
            return 0.6 + 0.2 * len(block.bands)
        case Drive():
            return 3.0 * block.oversample
        case Delay():
            return 0.3 + 3.6 / block.time_ms
        case Ir():
            return 2.0 + block.length_ms / 40.0


def decibels(db: float) -> float:
    return float(10.0 ** (db / 20.0))


class Amplifier:
    latency = 0

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def process(self, chunk: Samples) -> Samples:
        return chunk * self._factor


class Waveshaper:
    """Distorts the signal at a multiple of the rate. The dry part is delayed, so that it stays in phase."""

    def __init__(self, drive: Drive) -> None:
        self._up, self._down = Upsampler(drive.oversample), Downsampler(drive.oversample)
        self.latency = self._up.latency + self._down.latency
        self._drive, self._amount = drive, decibels(drive.amount_db)
        self._past = np.zeros(self.latency)
        # The asymmetric curve adds an offset, which an amplifier's coupling capacitor removes.
        self._coupling = Filters([section(HighPass(frequency=12.0), RATE)]) if drive.curve == "tube" else None

    def process(self, chunk: Samples) -> Samples:
        bent = self._down.process(self._bend(self._up.process(chunk * self._amount)))
        if self._coupling is not None:
            bent = self._coupling.process(bent)
        seen = np.concatenate([self._past, chunk])
        dry, self._past = seen[: len(chunk)], seen[len(chunk) :]
        mix = self._drive.mix
        mixed: Samples = decibels(self._drive.level_db) * (mix * bent + (1 - mix) * dry)
        return mixed

    def _bend(self, risen: Samples) -> Samples:
        match self._drive.curve:
            case "soft":
                return np.tanh(risen)
            case "hard":
                return np.clip(risen, -1.0, 1.0)
            case "tube":
                # Through (0, 0) with slope 1; the lower half-wave bends at 2.2 times the level of the upper.
                return np.where(risen > 0, 0.625 * np.tanh(risen / 0.625), 1.375 * np.tanh(risen / 1.375))


class Convolver:
    """Convolves by overlap-add: the tail of each chunk is added to the next one."""

    latency = 0

    def __init__(self, response: Samples) -> None:
        self._response = response
        self._tail = np.zeros(len(response) - 1)
        self._spectra: dict[int, np.ndarray[tuple[int, ...], np.dtype[np.complex128]]] = {}

    def process(self, chunk: Samples) -> Samples:
        length = len(chunk) + len(self._response) - 1
        size = _transform_size(length)
        if size not in self._spectra:
            self._spectra[size] = np.fft.rfft(self._response, size)
        convolved = np.fft.irfft(np.fft.rfft(chunk, size) * self._spectra[size], size)[:length]
        convolved[: len(self._tail)] += self._tail
        self._tail = convolved[len(chunk) :].copy()
        return convolved[: len(chunk)]


class Echo:
    """wet[n] = dry[n - time] + feedback * wet[n - time]."""

    latency = 0

    def __init__(self, delay: Delay) -> None:
        self._delay = delay
        self._line = np.zeros(max(1, round(delay.time_ms * RATE / 1000)))
        self._at = 0

    def process(self, chunk: Samples) -> Samples:
        wet = np.empty_like(chunk)
        done = 0
        while done < len(chunk):
            # Stop at the end of the line, so that a piece never reads what it has written.
            piece = min(len(chunk) - done, len(self._line) - self._at)
            line = self._line[self._at : self._at + piece]
            wet[done : done + piece] = line
            line *= self._delay.feedback
            line += chunk[done : done + piece]
            done, self._at = done + piece, (self._at + piece) % len(self._line)
        return (1 - self._delay.mix) * chunk + self._delay.mix * wet


def _transform_size(length: int) -> int:
    """Return the smallest of 2^k, 3 * 2^k and 5 * 2^k that is at least *length*: fast sizes for the FFT."""
    return min(odd << max(0, (-(-length // odd) - 1).bit_length()) for odd in (1, 3, 5))
