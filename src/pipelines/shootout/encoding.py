"""Runs the step `encode` for one chain: applies its gain, writes 24-bit FLAC, and verifies the file."""

import io
from collections.abc import Callable, Iterable

import numpy as np
import soundfile

from headrace import RetryableError, StepContext
from headrace.pipelines.shootout import audio, measures
from headrace.pipelines.shootout.blocks import RATE, decibels
from headrace.pipelines.shootout.measures import in_decibels
from headrace.pipelines.shootout.naming import numbered, position
from headrace.pipelines.shootout.outputs import Matched, Render, Track
from headrace.pipelines.shootout.oversampling import Recording, Samples, TruePeak
from headrace.pipelines.shootout.params import Chain, ShootoutParams

_STEP = 2.0**-23  # the resolution of 24 bits
_PIECE_SAMPLES = 1 << 16


def encode_chain(
    context: StepContext[ShootoutParams], chain: Chain, render: Render, matched: Matched
) -> Track:
    """Encode the render of one chain.

    Raises:
        RetryableError: the file does not decode to the encoded sound.
    """
    gain_db = matched.gains_db[position(context.params, chain)]
    factor = decibels(gain_db)
    with context.open_file(render.file) as source:
        rendered = audio.read_own(source)
    length = len(rendered)

    def on_samples(done: int) -> None:
        context.raise_if_cancelled()
        context.progress(done, 2 * length, "encoding" if done <= length else "reading back")

    encoded = flac((piece * factor for piece in measures.pieces(rendered, _PIECE_SAMPLES)), on_samples)
    # The file equals the render within a step of 24 bits, so its loudness is the measured one plus the gain.
    true_peak = verified_true_peak(encoded, rendered, factor, lambda done: on_samples(length + done))
    if true_peak is None or true_peak > decibels(context.params.match.ceiling_dbfs):
        raise RetryableError(f"chain {chain.name!r}: the FLAC does not hold the render")
    file_name = f"{numbered(context.params, chain)}.flac"
    track = Track(
        name=chain.name,
        file=context.save_file(file_name, encoded, "audio/flac"),
        file_name=file_name,
        lufs=round(render.lufs + gain_db, 2),
        true_peak_dbtp=round(in_decibels(true_peak), 2),
        gain_db=round(gain_db, 2),
        crest_db=round(render.true_peak_dbtp - render.rms_dbfs, 2),
    )
    context.progress(1, 1, f"{track.lufs:.1f} LUFS, {track.true_peak_dbtp:.1f} dBTP")
    return track


def flac(pieces: Iterable[Samples], on_samples: Callable[[int], None] | None = None) -> bytes:
    """Encode as 24-bit FLAC at 48 kHz. The same samples in the same pieces give the same bytes."""
    encoded, done = io.BytesIO(), 0
    with soundfile.SoundFile(encoded, "w", RATE, channels=1, format="FLAC", subtype="PCM_24") as file:
        for piece in pieces:
            file.write(piece)
            done += len(piece)
            if on_samples is not None:
                on_samples(done)
    return encoded.getvalue()


def verified_true_peak(
    encoded: bytes, rendered: Recording, factor: float, on_samples: Callable[[int], None]
) -> float | None:
    """Return the true peak of the decoded file; None if it does not equal *rendered* times *factor*."""
    true_peak, done = TruePeak(), 0
    with soundfile.SoundFile(io.BytesIO(encoded)) as file:
        if file.frames != len(rendered):
            return None
        for piece in measures.pieces(rendered, _PIECE_SAMPLES):
            decoded = file.read(len(piece), dtype="float64")
            if len(decoded) != len(piece) or np.max(np.abs(decoded - piece * factor)) > 2 * _STEP:
                return None
            true_peak.add(decoded)
            done += len(piece)
            on_samples(done)
    return true_peak.finish()
