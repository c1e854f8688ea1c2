"""Runs the step `prepare`: turns a recording into the DI that all chains get."""

import numpy as np

from headrace import StepContext
from headrace.pipelines.shootout import audio
from headrace.pipelines.shootout.audio import SILENCE
from headrace.pipelines.shootout.blocks import RATE, decibels
from headrace.pipelines.shootout.errors import UnusableInputError
from headrace.pipelines.shootout.inputs import open_di
from headrace.pipelines.shootout.outputs import Prepared
from headrace.pipelines.shootout.oversampling import Recording
from headrace.pipelines.shootout.params import Input, ShootoutParams

MIN_SECONDS = 0.4  # one block of BS.1770: a shorter sound has no loudness
# A render takes 192 kB a second as a WAV, and up to 144 kB as a FLAC.
MAX_RENDERED_SECONDS = 1_800.0
_BEFORE_SOUND, _AFTER_SOUND = RATE // 100, RATE // 20  # kept around the sound, so that no attack is cut


def prepare_di(context: StepContext[ShootoutParams]) -> Prepared:
    """Decode, cut, resample, centre, trim and level the DI, in that order.

    Raises:
        UnusableInputError: it cannot be decoded, is silent, too short or too long, or not finite.
    """
    options = context.params.input
    source, label = open_di(context)

    def on_frames(done: int, total: int) -> None:
        context.raise_if_cancelled()
        context.progress(done, 2 * total, "reading the DI")

    with source:
        sound = audio.decode(source, label, channel=options.channel, on_frames=on_frames)
    rate, channels = sound.rate, sound.channels
    samples = audio.resample(_cut(sound.samples, rate, options), rate)
    del sound  # up to four times as large as the samples
    context.raise_if_cancelled()
    samples = samples - np.float32(samples.mean(dtype=np.float64) if len(samples) else 0.0)
    peak = float(np.max(np.abs(samples), initial=0.0))
    if peak < SILENCE:
        raise UnusableInputError(f"{label} is silent: its loudest sample is below -80 dBFS")
    if options.trim_db is not None:
        samples = trim(samples, peak * decibels(options.trim_db))
    seconds = len(samples) / RATE
    if seconds < MIN_SECONDS:
        raise UnusableInputError(
            f"{label} is too short: {seconds:.2f} s of sound, at least {MIN_SECONDS} s are needed"
        )
    check_rendered(context.params, seconds)
    if options.rms_dbfs is not None:
        rms = float(np.sqrt(np.mean(np.square(samples), dtype=np.float64)))
        samples = samples * np.float32(decibels(options.rms_dbfs) / rms)
    samples = np.concatenate([samples, np.zeros(round(options.tail_seconds * RATE), np.float32)])
    file = context.save_file(
        "prepared-di.wav", audio.write_float_wav(context.scratch / "prepared-di.wav", samples), "audio/wav"
    )
    context.progress(1, 1, f"{seconds:.1f} s of DI are ready")
    return Prepared(
        file=file,
        samples=len(samples),
        seconds=round(len(samples) / RATE, 3),
        source_rate=rate,
        source_channels=channels,
    )


def check_rendered(params: ShootoutParams, di_seconds: float) -> None:
    """Check how much sound all chains would render of a DI of this length.

    Raises:
        UnusableInputError: it is too much.
    """
    chains = len(params.chains)
    rendered_seconds = chains * (di_seconds + params.input.tail_seconds)
    if rendered_seconds > MAX_RENDERED_SECONDS:
        raise UnusableInputError(
            f"{chains} chains of {rendered_seconds / chains:.0f} s are {rendered_seconds:.0f} s of sound, the"
            f" limit is {MAX_RENDERED_SECONDS:.0f} s; use fewer chains, or a part of the DI"
            " (input.start_seconds, input.duration_seconds)"
        )


def trim(samples: Recording, threshold: float) -> Recording:
    """Cut *samples* to just before the first and just after the last one that reaches *threshold*."""
    is_loud = np.abs(samples) >= threshold
    first, last = int(np.argmax(is_loud)), len(samples) - 1 - int(np.argmax(is_loud[::-1]))
    if not is_loud[first]:
        return samples[:0]
    return samples[max(0, first - _BEFORE_SOUND) : last + 1 + _AFTER_SOUND]


def _cut(samples: Recording, rate: int, options: Input) -> Recording:
    start = round(options.start_seconds * rate)
    if options.duration_seconds is None:
        return samples[start:]
    return samples[start : start + round(options.duration_seconds * rate)]
