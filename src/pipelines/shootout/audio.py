"""Sound files in and out: whatever libsndfile reads becomes mono at 48 kHz, or is refused with a reason."""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import soundfile

from headrace import PermanentError
from pipelines.shootout.blocks import RATE, decibels
from pipelines.shootout.oversampling import Samples

MAX_BYTES: Final = 100_000_000
MAX_SECONDS: Final = 600.0
MAX_RESPONSE_SECONDS: Final = 30.0
RATES: Final = range(8_000, 192_001)
SILENCE: Final = 1e-4  # -80 dBFS
ASSETS: Final = Path(__file__).parent / "assets"
_FRAMES_AT_ONCE: Final = 1 << 16


class InvalidInputError(PermanentError):
    """An input cannot be used; no retry mends that. The message names it and says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="input_invalid")


@dataclass(frozen=True)
class Sound:
    """One channel of a file, at the file's own rate."""

    samples: Samples
    rate: int
    channels: int


def probe(source: IO[bytes], label: str, *, max_seconds: float = MAX_SECONDS) -> Any:
    """*source* opened as a `soundfile.SoundFile`, after a look at what its header says.

    Raises:
        InvalidInputError: it is too large or too long, has an unusable rate, or is no sound.
    """
    size = source.seek(0, 2)
    source.seek(0)
    if size > MAX_BYTES:
        raise InvalidInputError(f"{label} is {size / 1e6:.0f} MB large, the limit is {MAX_BYTES // 10**6} MB")
    try:
        sound = soundfile.SoundFile(source)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: raw samples, going by the file's name
        raise InvalidInputError(f"{label} is not audio that can be decoded") from error
    if sound.samplerate not in RATES:
        raise InvalidInputError(f"{label} has a rate of {sound.samplerate} Hz; 8 to 192 kHz can be used")
    if sound.frames > max_seconds * sound.samplerate:
        raise InvalidInputError(
            f"{label} is {sound.frames / sound.samplerate:.0f} s long, the limit is {max_seconds:.0f} s"
        )
    return sound


def decode(
    source: IO[bytes],
    label: str,
    *,
    channel: int | None,
    max_seconds: float = MAX_SECONDS,
    on_frames: Callable[[int, int], None] | None = None,
) -> Sound:
    """Read *channel* (from 1; None mixes all) of *source*; *on_frames* hears of done and total frames.

    Raises:
        InvalidInputError: as `probe`; or broken further in, without that channel, or not finite.
    """
    with probe(source, label, max_seconds=max_seconds) as sound:
        if channel is not None and channel > sound.channels:
            raise InvalidInputError(f"{label} has {sound.channels} channel(s), there is no channel {channel}")
        # A header can promise anything, so the length is what was read.
        pieces: list[Samples] = []
        done, limit = 0, int(max_seconds * sound.samplerate)
        while True:
            try:
                frames = sound.read(_FRAMES_AT_ONCE, dtype="float64", always_2d=True)
            except soundfile.SoundFileError as error:
                raise InvalidInputError(f"{label} is broken {done / sound.samplerate:.1f} s in") from error
            if not len(frames):
                break
            if not np.isfinite(frames).all():
                raise InvalidInputError(f"{label} has samples that are not numbers (NaN or infinite)")
            pieces.append(frames.mean(axis=1) if channel is None else frames[:, channel - 1].copy())
            done += len(frames)
            if done > limit:
                raise InvalidInputError(f"{label} is longer than {max_seconds:.0f} s")
            if on_frames is not None:
                on_frames(done, max(done, sound.frames))
        samples = np.concatenate(pieces) if pieces else np.zeros(0)
        return Sound(samples, sound.samplerate, sound.channels)


def resample(samples: Samples, rate: int) -> Samples:
    """*samples* of *rate* at 48 kHz."""
    if rate == RATE:
        return samples
    from scipy.signal import resample_poly  # noqa: PLC0415 - 0.7 s, which a file at 48 kHz need not pay

    divisor = math.gcd(RATE, rate)
    return np.asarray(resample_poly(samples, RATE // divisor, rate // divisor), dtype=np.float64)


def response(sound: Sound, label: str, *, length_ms: float, normalise: bool, align: bool) -> Samples:
    """An impulse response as an `ir` block uses it; a single unit impulse comes out as it is.

    Raises:
        InvalidInputError: it is silent.
    """
    taps = resample(sound.samples, sound.rate)
    peak = float(np.max(np.abs(taps), initial=0.0))
    if peak < SILENCE:
        raise InvalidInputError(f"{label} is silent")
    if align:
        taps = taps[int(np.argmax(np.abs(taps) >= peak * decibels(-60))) :]
    length = max(1, round(length_ms * RATE / 1000))
    if len(taps) > length:
        fade = max(1, length // 8)
        taps = taps[:length].copy()
        taps[-fade:] *= np.cos(np.linspace(0, np.pi / 2, fade)) ** 2
    energy = float(np.sqrt(np.sum(taps**2)))
    return taps / energy if normalise and energy > 0 else taps


def float_wav(samples: Samples) -> bytes:
    """A mono 48 kHz WAV of 32-bit floats, which unlike libsndfile's holds no time of day."""
    content = samples.astype("<f4").tobytes()
    fmt = struct.pack("<HHIIHHH", 3, 1, RATE, RATE * 4, 4, 32, 0)
    chunks = [(b"fmt ", fmt), (b"fact", struct.pack("<I", len(samples))), (b"data", content)]
    body = b"WAVE" + b"".join(name + struct.pack("<I", len(chunk)) + chunk for name, chunk in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def read_own(source: IO[bytes]) -> Samples:
    """The samples of a file that this pipeline wrote."""
    samples, _ = soundfile.read(source, dtype="float64")
    return np.asarray(samples, dtype=np.float64)
