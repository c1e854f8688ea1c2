"""Generates the bundled guitar and cabinet: `python -m headrace.pipelines.shootout.make_assets`.

Both are synthesised from seeded noise, so they are free of rights and can be generated again.
"""

import math
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from headrace.pipelines.shootout.audio import ASSETS
from headrace.pipelines.shootout.blocks import RATE
from headrace.pipelines.shootout.oversampling import Samples

_BEAT: Final = 60 / 126  # seconds
_E2: Final = 82.407  # Hz, the low string

# (beat, length in beats, semitones above E2, muted, strength)
_CHUG, _RING = True, False
_POWER, _MINOR = (0, 7, 12), (0, 7, 12, 15, 19, 24)
_RIFF: Final = (
    *((beat, 0.5, (0, 7), _CHUG, 1.7) for beat in (0, 0.5, 0.75)),
    (1.0, 0.95, tuple(3 + n for n in _POWER), _RING, 1.0),
    *((beat, 0.5, (0, 7), _CHUG, 1.7) for beat in (2, 2.5, 2.75)),
    (3.0, 0.95, tuple(5 + n for n in _POWER), _RING, 1.0),
    *((beat, 0.5, (0, 7), _CHUG, 1.7) for beat in (4, 4.5, 4.75)),
    (5.0, 0.45, tuple(8 + n for n in _POWER), _RING, 1.0),
    (5.5, 0.45, tuple(7 + n for n in _POWER), _RING, 0.95),
    *((beat, 0.25, (0,), _CHUG, 1.9) for beat in (6, 6.25, 6.5, 6.75)),
    (7.0, 0.95, tuple(3 + n for n in _POWER), _RING, 1.0),
    # An arpeggio over the clean part, then a chord that rings out.
    *((8 + 0.5 * i, 2.2, (tone,), _RING, 0.75) for i, tone in enumerate((0, 12, 19, 24, 27, 24, 19, 15))),
    (12.0, 5.0, _MINOR, _RING, 1.0),
)


def pluck(frequency: float, seconds: float, *, muted: bool, seed: int) -> Samples:
    """Synthesise one string after Karplus and Strong (1983), tuned by linear interpolation."""
    period = RATE / frequency
    bright = 0.09 if muted else 0.035  # how much of each neighbour the loop's low-pass takes
    whole = math.floor(period - 1)
    part = period - 1 - whole
    loop = np.convolve([bright, 1 - 2 * bright, bright], [1 - part, part])
    per_second = 1e-5 if muted else 0.18 if frequency > 160 else 0.3
    loop *= per_second ** (1 / frequency)
    burst = np.random.default_rng(seed).uniform(-1, 1, round(period))
    # Overtones of a plucked string fall by at least 6 dB per octave; white noise would hiss.
    tilt = np.maximum(np.arange(len(burst) // 2 + 1), 1) ** (-1.3 if muted else -1.1)
    burst = np.fft.irfft(np.fft.rfft(burst) * tilt, len(burst))
    string = np.zeros(whole + len(loop) + round(seconds * RATE))
    string[whole + len(loop) :][: len(burst)] = burst / np.max(np.abs(burst))
    for start in range(whole + len(loop), len(string), whole):
        # A piece is shorter than the loop's delay, so it never reads what it writes.
        piece = string[start : start + whole]
        past = string[start - whole - len(loop) + 1 : start - whole + len(piece)]
        piece += np.convolve(past, loop, "valid")
    string = string[whole + len(loop) :]
    picked = round(period * 0.13)  # where the pick hits: overtones with a node there are missing
    string[picked:] -= 0.85 * string[:-picked].copy()
    return string


def riff() -> Samples:
    """Synthesise about eight seconds of electric guitar, straight from the pickup."""
    seconds = 17 * _BEAT + 0.3
    track = np.zeros(round(seconds * RATE))
    for number, (beat, beats, tones, muted, strength) in enumerate(_RIFF):
        for string, tone in enumerate(tones):
            begin = round((0.05 + beat * _BEAT + string * (0.004 if len(tones) < 5 else 0.018)) * RATE)
            frequency = _E2 * 2 ** (tone / 12) * (1 + 0.0006 * math.sin(7 * number + string))
            note = pluck(frequency, beats * _BEAT + 0.04, muted=muted, seed=100 * number + string)
            note *= strength * 0.8**string
            note[-1_900:] *= np.cos(np.linspace(0, np.pi / 2, 1_900)) ** 2  # the hand damps the string
            note = note[: len(track) - begin]
            track[begin : begin + len(note)] += note
    return _scaled(_pickup(track), 0.5)


def _pickup(track: Samples) -> Samples:
    """Model a pickup coil with its cable: a resonance at 3.6 kHz and a high-pass at 70 Hz."""
    size = 1 << (len(track) + RATE).bit_length()
    s = 1j * np.fft.rfftfreq(size, 1 / RATE)
    coil = 3600**2 / (s**2 + s * 3600 / 1.8 + 3600**2)
    return np.asarray(np.fft.irfft(np.fft.rfft(track, size) * coil * (s / (s + 70)), size)[: len(track)])


def cabinet() -> Samples:
    """Synthesise the minimum-phase response (100 ms) of a closed 4x12 cabinet with a close microphone."""
    size = 1 << 15
    f = np.maximum(np.fft.rfftfreq(size, 1 / RATE), 1.0)
    db = -10 * np.log10(1 + (75 / f) ** 4) - 10 * np.log10(1 + (f / 5_200) ** 10)
    for centre, gain, octaves in ((118, 4.5, 0.5), (430, -4.0, 0.8), (1_500, 1.5, 0.6), (2_700, 5.5, 0.7)):
        db += gain * np.exp(-0.5 * (np.log2(f / centre) / octaves) ** 2)
    # The modes of the cone: narrow and small.
    random = np.random.default_rng(1959)
    for mode in np.geomspace(90, 9_000, 42):
        db += random.normal(0, 1.3) * np.exp(
            -0.5 * (np.log2(f / (mode * random.uniform(0.97, 1.03))) / 0.07) ** 2
        )
    cepstrum = np.fft.irfft(db * math.log(10) / 20, size)
    cepstrum[1 : size // 2] *= 2
    cepstrum[size // 2 + 1 :] = 0
    taps = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[: RATE // 10]
    for milliseconds, level in ((1.3, -0.11), (2.9, 0.06), (6.1, -0.03)):
        late = round(milliseconds * RATE / 1000)
        taps[late:] += level * taps[:-late].copy()
    taps[-960:] *= np.cos(np.linspace(0, np.pi / 2, 960)) ** 2
    return _scaled(taps, 0.9)


def _scaled(samples: Samples, peak: float) -> Samples:
    return samples * (peak / float(np.max(np.abs(samples))))


def main(folder: Path = ASSETS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / "riff.wav", riff(), RATE, subtype="PCM_24")
    soundfile.write(folder / "cabinet.wav", cabinet(), RATE, subtype="PCM_24")


if __name__ == "__main__":
    main()
