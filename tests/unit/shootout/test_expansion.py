"""Small files that decode to much are refused, by their header and while they are read."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.signal
import soundfile

from headrace.pipelines.shootout import audio, measures, preparing
from unit.shootout.test_inputs import params, prepare, refusal

if TYPE_CHECKING:
    from unit.shootout.conftest import Studio

FORMATS = [
    ("WAV", "PCM_U8"),
    ("FLAC", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("OGG", "VORBIS"),
    ("MP3", "MPEG_LAYER_III"),
]


def twelve_chains(di: str, **given: Any) -> dict[str, Any]:
    chains = [{"name": f"chain {number}", "blocks": []} for number in range(12)]
    return {**params(di, **given), "chains": chains}


@pytest.mark.parametrize(("form", "subtype"), FORMATS)
@pytest.mark.parametrize("step", ["validate", "prepare"])
def test_a_sound_of_too_many_samples_is_refused_by_its_header(
    studio: "Studio", monkeypatch: pytest.MonkeyPatch, form: str, subtype: str, step: str
) -> None:
    monkeypatch.setattr(audio, "MAX_DECODED_SAMPLES", 150_000)
    file = studio.upload_sound(np.zeros((96_000, 2)), form=form, subtype=subtype)
    monkeypatch.setattr(soundfile.SoundFile, "read", None)

    message = refusal(studio, step, params(file))

    assert f"di: file {file} decodes to 0 million samples (2 s of 2 channel(s) at 48000 Hz), " in message


def test_the_longest_sound_at_the_highest_rate_is_within_the_limit() -> None:
    assert audio.MAX_SECONDS * max(audio.RATES) == audio.MAX_DECODED_SAMPLES


def test_a_file_that_holds_more_than_its_header_says_is_refused(
    studio: "Studio", monkeypatch: pytest.MonkeyPatch
) -> None:
    file = studio.upload_sound(np.full(48_000, 0.1))
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: np.full((30_000, 1), 0.1, np.float32))

    message = refusal(studio, "prepare", params(file))

    assert message == f"di: file {file} holds more than the 48000 frames of its header"


@pytest.mark.parametrize("promised", [10, 48_000])
def test_a_flac_is_read_no_further_than_its_header_promises(studio: "Studio", promised: int) -> None:
    content = io.BytesIO()
    soundfile.write(content, np.full(480_000, 0.1), 48_000, format="FLAC", subtype="PCM_16")
    lying = bytearray(content.getvalue())
    lying[22:26] = promised.to_bytes(4, "big")  # the number of samples in STREAMINFO

    sound = audio.decode(io.BytesIO(bytes(lying)), "di", channel=None)

    assert len(sound.samples) == promised


def test_the_sound_that_all_chains_render_has_a_limit(studio: "Studio") -> None:
    file = studio.upload_sound(np.zeros(8_000 * 160), rate=8_000, subtype="PCM_16", form="FLAC")
    assert len(studio.files[file]) < 20_000

    message = refusal(studio, "validate", twelve_chains(file))

    assert message.startswith("12 chains of 160 s are 1920 s of sound, the limit is 1800 s; ")
    studio.run_step("validate", twelve_chains(file, start_seconds=11))
    studio.run_step("validate", twelve_chains(file, duration_seconds=150))
    studio.run_step("validate", params(file))


def test_the_limit_of_rendered_sound_holds_for_what_was_read(
    studio: "Studio", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "MAX_RENDERED_SECONDS", 20.0)
    file = studio.upload_sound(np.sin(np.arange(96_000)))

    assert refusal(studio, "prepare", twelve_chains(file)).startswith("12 chains of 2 s are 24 s of sound")
    prepare(studio, file)


def test_loudness_is_measured_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = np.random.default_rng(1).normal(size=48_000 * 7).astype(np.float32) * np.float32(0.1)
    sizes: list[int] = []

    def recording(b: Any, a: Any, piece: Any, **more: Any) -> Any:
        sizes.append(len(piece))
        return scipy.signal.lfilter(b, a, piece, **more)

    monkeypatch.setattr(measures, "lfilter", recording)
    measures.loudness(sound)

    assert max(sizes) < 70_000
