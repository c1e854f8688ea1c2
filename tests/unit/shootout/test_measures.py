"""The measures of a render."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.pipelines.shootout import measures
from headrace.pipelines.shootout.matching import match_renders
from headrace.pipelines.shootout.outputs import Render, Spectrum
from headrace.pipelines.shootout.params import Match
from unit.shootout.references import integrated_loudness

Samples = NDArray[np.float64]

loudness = measures.loudness


def test_six_decibels_of_gain_add_six_lufs(chord: Samples) -> None:
    louder = loudness(chord * 10 ** (6.02 / 20)) - loudness(chord)

    assert louder == pytest.approx(6.02, abs=1e-6)


@pytest.mark.parametrize("seconds", [0.4, 0.44, 0.7, 3.33, 12.0])
def test_loudness_matches_pyloudnorm(seconds: float) -> None:
    times = np.arange(round(seconds * 48_000)) / 48_000
    noise = np.random.default_rng(3).normal(size=len(times))
    sound = noise * 0.1 * np.exp(-times) + 0.2 * np.sin(2 * np.pi * 180 * times) * (times % 0.9 < 0.3)

    assert loudness(sound) == pytest.approx(integrated_loudness(sound), abs=1e-6)


def test_a_reference_tone_has_its_standard_loudness() -> None:
    # EBU Tech 3341, case 1, for one channel instead of two: 3 LU less.
    tone = 10 ** (-23 / 20) * np.sin(2 * np.pi * 1_000 * np.arange(48_000 * 20) / 48_000)

    assert loudness(tone) == pytest.approx(-26.0, abs=0.1)


def test_the_gate_does_not_drop_a_quiet_sound(chord: Samples) -> None:
    assert loudness(chord * 1e-5) == pytest.approx(loudness(chord) - 100, abs=1e-6)


def test_silence_has_no_loudness() -> None:
    assert loudness(np.zeros(48_000)) == -math.inf


def test_the_outline_keeps_the_extremes() -> None:
    sound = np.zeros(9_000, np.float32)
    sound[4_321], sound[8_999] = 0.75, -0.5

    low, high = measures.outline(sound)

    assert len(low) == len(high) == 900
    assert high[432] == 0.75
    assert low[899] == -0.5


def test_the_spectrum_of_a_tone_peaks_at_its_frequency() -> None:
    tone = np.sin(2 * np.pi * 1_000 * np.arange(48_000) / 48_000)

    spectrum = measures.spectrum(tone.astype(np.float32))

    loudest = int(np.argmax(spectrum.levels_db))
    assert spectrum.frequencies[loudest] == pytest.approx(1_000, rel=0.07)
    assert spectrum.levels_db[0] < spectrum.levels_db[loudest] - 60


def render(name: str, lufs: float, true_peak: float) -> Render:
    nothing = Spectrum(frequencies=[], levels_db=[])
    return Render(
        chain=name,
        file="00000000-0000-0000-0000-000000000001",  # type: ignore[arg-type]
        lufs=lufs,
        true_peak_dbtp=true_peak,
        rms_dbfs=lufs,
        low=[],
        high=[],
        spectrum=nothing,
    )


def test_all_renders_reach_the_target_if_no_peak_limits_it() -> None:
    matched = match_renders([render("a", -20, -12), render("b", -10, 0)], Match(target_lufs=-16))

    assert matched.target_lufs == -16
    assert matched.gains_db == [4, -6]
    assert matched.limited_by is None


def test_one_high_peak_lowers_the_target_for_all() -> None:
    renders = [render("flat", -10, -4), render("spiky", -30, -5), render("spikier", -30, -4)]

    matched = match_renders(renders, Match(target_lufs=-16, ceiling_dbfs=-1))

    assert matched.limited_by == "spikier"
    assert matched.target_lufs == pytest.approx(-27, abs=0.1)
    assert {round(each.lufs + gain, 9) for each, gain in zip(renders, matched.gains_db, strict=True)} == {
        round(matched.target_lufs, 9)
    }
    for each, gain in zip(renders, matched.gains_db, strict=True):
        assert each.true_peak_dbtp + gain <= -1
