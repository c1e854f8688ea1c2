"""What `encode` does for one chain: its gain, then 24-bit FLAC, read back and proved."""

import io
import math

import numpy as np
import soundfile

from headrace import RetryableError, StepContext
from pipelines.shootout import audio
from pipelines.shootout.blocks import RATE, decibels
from pipelines.shootout.naming import numbered, position
from pipelines.shootout.outputs import Matched, Render, Track
from pipelines.shootout.oversampling import Samples, true_peak
from pipelines.shootout.params import Chain, ShootoutParams

_STEP = 2.0**-23  # of 24 bits


def encode_chain(
    context: StepContext[ShootoutParams], chain: Chain, render: Render, matched: Matched
) -> Track:
    """Raises: RetryableError when what was written does not read back as it should."""
    gain_db = matched.gains_db[position(context.params, chain)]
    with context.open_file(render.file) as source:
        samples = audio.read_own(source) * decibels(gain_db)
    context.raise_if_cancelled()
    context.progress(1, 3, "gain applied")
    encoded = flac(samples)
    decoded, _ = soundfile.read(io.BytesIO(encoded), dtype="float64")
    context.raise_if_cancelled()
    context.progress(2, 3, "encoded")
    # Equal to the render within a step of 24 bits, its loudness is the measured one plus the gain.
    highest = true_peak(decoded)
    if np.max(np.abs(decoded - samples)) > 2 * _STEP or highest > decibels(context.params.match.ceiling_dbfs):
        raise RetryableError(f"chain {chain.name!r}: the FLAC does not hold the render")
    file_name = f"{numbered(context.params, chain)}.flac"
    track = Track(
        name=chain.name,
        file=context.save_file(file_name, encoded, "audio/flac"),
        file_name=file_name,
        lufs=round(render.lufs + gain_db, 2),
        true_peak_dbtp=round(20 * math.log10(highest), 2),
        gain_db=round(gain_db, 2),
        crest_db=round(render.true_peak_dbtp - render.rms_dbfs, 2),
    )
    context.progress(3, 3, f"{track.lufs:.1f} LUFS, {track.true_peak_dbtp:.1f} dBTP")
    return track


def flac(samples: Samples) -> bytes:
    """24-bit FLAC at 48 kHz; the same samples give the same bytes."""
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, RATE, format="FLAC", subtype="PCM_24")
    return encoded.getvalue()
