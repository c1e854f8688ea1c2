"""Reads sound files as mono at 48 kHz, or refuses them with a reason, and writes WAV files."""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import soundfile

from headrace.pipelines.shootout.blocks import RATE, decibels
from headrace.pipelines.shootout.errors import UnusableInputError
from headrace.pipelines.shootout.oversampling import Recording, Samples

MAX_BYTES: Final = 100_000_000
MAX_SECONDS: Final = 600.0
MAX_RESPONSE_SECONDS: Final = 30.0
MAX_CHANNELS: Final = 64
# Ten minutes at 192 kHz, or of 4 channels at 48 kHz. A small FLAC may decode to far more than that.
MAX_DECODED_SAMPLES: Final = 115_200_000
RATES: Final = range(8_000, 192_001)
SILENCE: Final = 1e-4  # -80 dBFS
_TOO_LOUD: Final = 1e4  # +80 dBFS: integers in a float file, or garbage
ASSETS: Final = Path(__file__).parent / "assets"
_CHUNK_FRAMES: Final = 1 << 16


@dataclass(frozen=True)
class Sound:
    """One channel of a file, at the file's own rate."""

    samples: Recording
    rate: int
    channels: int


def probe(source: IO[bytes], label: str, *, max_seconds: float = MAX_SECONDS) -> Any:
    """Open *source* as a `soundfile.SoundFile` and check its header.

    Raises:
        UnusableInputError: it is too large or too long, or would be when it is decoded; it has an unusable
            rate, or is not audio.
    """
    size = source.seek(0, 2)
    source.seek(0)
    if size > MAX_BYTES:
        raise UnusableInputError(
            f"{label} is {size / 1e6:.0f} MB large, the limit is {MAX_BYTES // 10**6} MB"
        )
    try:
        sound = soundfile.SoundFile(source)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: the file's name says raw samples
        raise UnusableInputError(f"{label} is not audio that can be decoded") from error
    if sound.samplerate not in RATES:
        raise UnusableInputError(f"{label} has a rate of {sound.samplerate} Hz; 8 to 192 kHz can be used")
    if sound.channels > MAX_CHANNELS:
        raise UnusableInputError(f"{label} has {sound.channels} channels, the limit is {MAX_CHANNELS}")
    if sound.frames < 1:
        raise UnusableInputError(f"{label} holds no samples")
    if sound.frames > max_seconds * sound.samplerate:
        raise UnusableInputError(
            f"{label} is {sound.frames / sound.samplerate:.0f} s long, the limit is {max_seconds:.0f} s"
        )
    decoded = sound.frames * sound.channels
    if decoded > MAX_DECODED_SAMPLES:
        raise UnusableInputError(
            f"{label} decodes to {decoded / 1e6:.0f} million samples ({sound.frames / sound.samplerate:.0f} s"
            f" of {sound.channels} channel(s) at {sound.samplerate} Hz), the limit is"
            f" {MAX_DECODED_SAMPLES / 1e6:.0f} million"
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
    """Read *channel* (from 1; None mixes all) of *source*. *on_frames* is called with done and total frames.

    Raises:
        UnusableInputError: as `probe`; or it is broken, has no such channel, or has samples that are not
            finite.
    """
    with probe(source, label, max_seconds=max_seconds) as sound:
        if channel is not None and channel > sound.channels:
            raise UnusableInputError(
                f"{label} has {sound.channels} channel(s), there is no channel {channel}"
            )
        # One buffer, because pieces and their concatenation would take twice the memory.
        samples = np.empty(sound.frames, np.float32)
        done = 0
        while True:
            try:
                frames = sound.read(_CHUNK_FRAMES, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise UnusableInputError(f"{label} is broken {done / sound.samplerate:.1f} s in") from error
            if not len(frames):
                break
            if not np.isfinite(frames).all():
                raise UnusableInputError(f"{label} has samples that are not numbers (NaN or infinite)")
            if np.max(np.abs(frames)) > _TOO_LOUD:
                raise UnusableInputError(f"{label} has samples far beyond full scale (1.0 is full scale)")
            # The header, which all limits were compared with, may be wrong.
            if done + len(frames) > len(samples):
                raise UnusableInputError(f"{label} holds more than the {len(samples)} frames of its header")
            samples[done : done + len(frames)] = (
                frames.mean(axis=1) if channel is None else frames[:, channel - 1]
            )
            done += len(frames)
            if on_frames is not None:
                on_frames(done, sound.frames)
        return Sound(samples[:done], sound.samplerate, sound.channels)


def resample(samples: Recording, rate: int) -> Recording:
    """Resample *samples* from *rate* to 48 kHz."""
    if rate == RATE:
        return samples
    from scipy.signal import resample_poly  # noqa: PLC0415 - takes 0.7 s; files at 48 kHz do not need it

    divisor = math.gcd(RATE, rate)
    return np.asarray(resample_poly(samples, RATE // divisor, rate // divisor), dtype=np.float32)


def response(sound: Sound, label: str, *, length_ms: float, normalise: bool, align: bool) -> Samples:
    """Return an impulse response as an `ir` block uses it. A single unit impulse stays as it is.

    Raises:
        UnusableInputError: it is silent.
    """
    taps = resample(sound.samples, sound.rate).astype(np.float64)
    peak = float(np.max(np.abs(taps), initial=0.0))
    if peak < SILENCE:
        raise UnusableInputError(f"{label} is silent")
    if align:
        taps = taps[int(np.argmax(np.abs(taps) >= peak * decibels(-60))) :]
    length = max(1, round(length_ms * RATE / 1000))
    if len(taps) > length:
        fade = max(1, length // 8)
        taps = taps[:length].copy()
        taps[-fade:] *= np.cos(np.linspace(0, np.pi / 2, fade)) ** 2
    energy = float(np.sqrt(np.sum(taps**2)))
    return taps / energy if normalise and energy > 0 else taps


def write_float_wav(path: Path, recording: Recording) -> Path:
    """Write a mono 48 kHz WAV of 32-bit floats. Unlike libsndfile's, it contains no time stamp."""
    fmt = struct.pack("<HHIIHHH", 3, 1, RATE, RATE * 4, 4, 32, 0)
    fact = struct.pack("<I", len(recording))
    head = b"WAVE" + b"".join(
        name + struct.pack("<I", len(chunk)) + chunk for name, chunk in ((b"fmt ", fmt), (b"fact", fact))
    )
    size = 4 * len(recording)
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", len(head) + 8 + size) + head)
        file.write(b"data" + struct.pack("<I", size))
        file.write(recording.astype("<f4", copy=False).data)
    return path


def read_own(source: IO[bytes]) -> Recording:
    """Read the samples of a float WAV that this pipeline wrote."""
    samples, _ = soundfile.read(source, dtype="float32")
    return np.asarray(samples, dtype=np.float32)
