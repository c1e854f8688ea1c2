"""Uploads are prepared, and unusable ones are refused with a message."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from headrace import PermanentError
from headrace.pipelines.shootout import audio
from headrace.pipelines.shootout.outputs import Prepared

if TYPE_CHECKING:
    from unit.shootout.conftest import Studio

Samples = NDArray[np.float64]


def params(di: str = "builtin", *blocks: dict[str, Any], **given: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"tail_seconds": 0, **given}
    return {"di": di, "input": plain, "chains": [{"name": "Crunch", "blocks": list(blocks)}]}


def prepare(studio: "Studio", di: str, **given: Any) -> tuple[Prepared, Samples]:
    studio.run_step("prepare", params(di, **given))
    samples, rate = soundfile.read(io.BytesIO(studio.content("prepared-di.wav")))
    assert rate == 48_000
    return studio.outputs["prepare"], samples


def refusal(studio: "Studio", step: str, given: dict[str, Any]) -> str:
    with pytest.raises(PermanentError) as caught:
        studio.run_step(step, given)
    assert caught.value.code == "input_invalid"
    return str(caught.value)


def test_a_48_khz_mono_file_keeps_its_samples(studio: "Studio", chord: Samples) -> None:
    _, samples = prepare(studio, studio.upload_sound(chord), trim_db=None)

    assert np.max(np.abs(samples - (chord - chord.mean()))) < 1e-6


@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000, 192_000])
def test_any_sample_rate_is_converted_to_48_khz_at_the_same_pitch(studio: "Studio", rate: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)

    prepared, samples = prepare(studio, studio.upload_sound(tone, rate=rate), trim_db=None)

    assert prepared.source_rate == rate
    assert len(samples) == pytest.approx(48_000, abs=2)
    spectrum = np.abs(np.fft.rfft(samples[:48_000] * np.hanning(48_000)))
    assert int(np.argmax(spectrum)) == 440


@pytest.mark.parametrize(
    ("form", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_24"), ("AIFF", "PCM_24"), ("OGG", "VORBIS")]
)
def test_common_formats_can_be_read(studio: "Studio", chord: Samples, form: str, subtype: str) -> None:
    prepared, samples = prepare(studio, studio.upload_sound(chord, form=form, subtype=subtype))

    assert prepared.seconds == pytest.approx(1.2, abs=0.02)
    assert np.max(np.abs(samples)) == pytest.approx(0.5, abs=0.05)


def test_stereo_is_mixed_unless_a_channel_is_chosen(studio: "Studio", chord: Samples) -> None:
    file = studio.upload_sound(np.stack([chord, np.zeros_like(chord)], axis=1))

    mixed, samples = prepare(studio, file, trim_db=None)
    _, left = prepare(studio, file, channel=1, trim_db=None)

    assert mixed.source_channels == 2
    assert np.max(np.abs(samples * 2 - left)) < 1e-6


def test_an_offset_is_removed_and_silence_is_cut(studio: "Studio", chord: Samples) -> None:
    padded = np.concatenate([np.zeros(48_000), chord, np.zeros(30_000)])

    prepared, samples = prepare(studio, studio.upload_sound(padded + 0.001))

    assert prepared.seconds == pytest.approx(1.2 + 0.06, abs=0.05)
    assert np.argmax(np.abs(samples)) < 4_800


def test_start_and_duration_select_a_part(studio: "Studio", chord: Samples) -> None:
    file = studio.upload_sound(chord)

    prepared, samples = prepare(studio, file, start_seconds=0.25, duration_seconds=0.5, trim_db=None)

    assert prepared.samples == len(samples) == 24_000
    part = chord[12_000:36_000]
    assert np.max(np.abs(samples - (part - part.mean()))) < 1e-6


def test_the_di_is_normalised_to_an_rms_level(studio: "Studio", chord: Samples) -> None:
    _, samples = prepare(studio, studio.upload_sound(chord * 0.01), rms_dbfs=-18)

    assert 10 * np.log10(np.mean(samples**2)) == pytest.approx(-18, abs=0.01)


def test_a_tail_of_silence_is_added(studio: "Studio", chord: Samples) -> None:
    prepared, samples = prepare(studio, studio.upload_sound(chord), tail_seconds=2)

    assert prepared.seconds == pytest.approx(3.2, abs=0.1)
    assert not samples[-95_000:].any()


def test_silence_is_refused(studio: "Studio") -> None:
    file = studio.upload_sound(np.full(96_000, 0.25))

    assert refusal(studio, "prepare", params(file)) == (
        f"di: file {file} is silent: its loudest sample is below -80 dBFS"
    )


def test_a_di_that_is_too_short_after_trimming_is_refused(studio: "Studio", chord: Samples) -> None:
    file = studio.upload_sound(np.concatenate([np.zeros(48_000), chord[:9_600], np.zeros(48_000)]))

    assert "is too short" in refusal(studio, "prepare", params(file))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_samples_are_refused(studio: "Studio", chord: Samples, wrong: float) -> None:
    chord[30_000] = wrong

    assert "not numbers" in refusal(studio, "prepare", params(studio.upload_sound(chord)))


def test_samples_far_beyond_full_scale_are_refused(studio: "Studio", chord: Samples) -> None:
    file = studio.upload_sound(chord * 2**31)

    assert "far beyond full scale" in refusal(studio, "prepare", params(file))


def test_more_than_64_channels_are_refused(studio: "Studio") -> None:
    file = studio.upload_sound(np.zeros((100, 65)))

    assert "65 channels, the limit is 64" in refusal(studio, "validate", params(file))


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not a sound at all" * 100, b"fLaC" + bytes(500)])
@pytest.mark.parametrize("step", ["validate", "prepare"])
def test_a_broken_file_is_refused(studio: "Studio", content: bytes, step: str) -> None:
    assert "is not audio that can be decoded" in refusal(studio, step, params(studio.upload(content)))


def test_a_file_without_samples_is_refused(studio: "Studio") -> None:
    assert "holds no samples" in refusal(studio, "validate", params(studio.upload_sound(np.zeros(0))))


def test_a_truncated_flac_is_refused_or_read_up_to_the_cut(studio: "Studio", chord: Samples) -> None:
    whole = io.BytesIO()
    soundfile.write(whole, np.tile(chord, 4), 48_000, format="FLAC", subtype="PCM_24")
    file = studio.upload(whole.getvalue()[: len(whole.getvalue()) // 2])

    try:
        prepared, _ = prepare(studio, file)
    except PermanentError as error:
        assert "is broken" in str(error)  # noqa: PT017 - both are fair
    else:
        assert prepared.seconds < 4.8


@pytest.mark.parametrize("rate", [7_999, 192_001])
def test_unsupported_sample_rates_are_refused(studio: "Studio", chord: Samples, rate: int) -> None:
    assert f"{rate} Hz" in refusal(studio, "validate", params(studio.upload_sound(chord, rate=rate)))


def test_a_di_of_more_than_ten_minutes_is_refused(studio: "Studio") -> None:
    file = studio.upload_sound(np.zeros(8_000 * 601), rate=8_000, subtype="PCM_U8")

    assert "601 s long, the limit is 600 s" in refusal(studio, "validate", params(file))


def test_an_impulse_response_of_more_than_30_s_is_refused(studio: "Studio") -> None:
    file = studio.upload_sound(np.ones(8_000 * 31), rate=8_000)

    message = refusal(studio, "validate", params("builtin", {"type": "ir", "file": file}))

    assert message == f"chain 'Crunch', block 1 (ir): file {file} is 31 s long, the limit is 30 s"


def test_a_file_above_the_size_limit_is_refused(
    studio: "Studio", monkeypatch: pytest.MonkeyPatch, chord: Samples
) -> None:
    monkeypatch.setattr(audio, "MAX_BYTES", 100_000)

    assert "MB large" in refusal(studio, "validate", params(studio.upload_sound(chord)))


def test_all_faults_are_reported_at_once(studio: "Studio", chord: Samples) -> None:
    text, silent = studio.upload(b"hello"), studio.upload_sound(np.zeros(48_000))
    missing = "11111111-2222-3333-4444-555555555555"
    given = {
        "di": studio.upload_sound(chord[:5]),
        "input": {"start_seconds": 3, "channel": None},
        "chains": [
            {"name": "Crunch", "blocks": [{"type": "gain", "db": 1}, {"type": "ir", "file": text}]},
            {"name": "crunch ", "blocks": [{"type": "ir", "file": missing}]},
            {"name": "Lead\n", "blocks": [{"type": "ir", "file": silent}]},
        ],
    }

    lines = refusal(studio, "validate", given).splitlines()

    assert lines == [
        "chain 2 ('crunch '): another chain has that name",
        "chain 3 ('Lead\\n'): the name has control characters",
        f"di: file {given['di']} ends at 0.00 s, before 3 s",
        f"chain 'Crunch', block 2 (ir): file {text} is not audio that can be decoded",
        f"chain 'crunch ', block 1 (ir): file {missing} is not one of your files",
        f"chain 'Lead\\n', block 1 (ir): file {silent} is silent",
    ]


def test_faults_beyond_the_limit_are_only_counted(studio: "Studio") -> None:
    missing = {"type": "ir", "file": "11111111-2222-3333-4444-555555555555"}

    lines = refusal(
        studio, "validate", {"chains": [{"name": f"{n}", "blocks": [missing] * 24} for n in range(2)]}
    ).splitlines()

    assert len(lines) == 41
    assert lines[-1] == "and 8 more"


def test_a_missing_di_and_a_missing_channel_are_named(studio: "Studio", chord: Samples) -> None:
    missing = "11111111-2222-3333-4444-555555555555"

    assert f"di: file {missing} is not one of your files" in refusal(studio, "validate", params(missing))
    assert "there is no channel 2" in refusal(
        studio, "validate", params(studio.upload_sound(chord), channel=2)
    )


def test_valid_inputs_pass(studio: "Studio", chord: Samples) -> None:
    response = studio.upload_sound(chord, rate=44_100)

    [context] = studio.run_step(
        "validate", params("builtin", {"type": "ir", "file": response}, {"type": "ir"})
    )

    assert studio.outputs["validate"].inputs == 3
    assert context.fractions == sorted(context.fractions)
    assert context.fractions[-1] == 1


def test_an_impulse_response_is_aligned_cut_and_normalised() -> None:
    taps = np.concatenate([np.zeros(500), np.ones(9_600)])
    sound = audio.Sound(taps.astype(np.float32), 48_000, 1)

    used = audio.response(sound, "ir", length_ms=100, normalise=True, align=True)
    plain = audio.response(sound, "ir", length_ms=5_000, normalise=False, align=False)

    assert len(used) == 4_800
    assert used[0] > 0
    assert abs(used[-1]) < 1e-12
    assert np.sum(used**2) == pytest.approx(1)
    assert np.array_equal(plain, taps)


def test_the_float_wav_can_be_read_by_soundfile(tmp_path: Path) -> None:
    sound = np.array([0.0, 0.5, -2.0, 1e-9], np.float32)

    samples, rate = soundfile.read(audio.write_float_wav(tmp_path / "a.wav", sound), dtype="float32")

    assert rate == 48_000
    assert np.array_equal(samples, sound)
