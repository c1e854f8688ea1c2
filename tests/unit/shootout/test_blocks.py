"""The effect of each block on a sound, which does not depend on the size of the chunks."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.pipelines.shootout import blocks, params
from headrace.pipelines.shootout.oversampling import Downsampler, TruePeak, Upsampler, low_pass
from headrace.pipelines.shootout.params import Block
from headrace.pipelines.shootout.rendering import BrokenSoundError, run
from unit.shootout.references import low_pass_taps, peak_between_samples

Samples = NDArray[np.float64]

EVERY_BLOCK: list[Block] = [
    params.Gain(db=-7),
    params.Eq(
        bands=(
            params.HighPass(frequency=90),
            params.LowShelf(frequency=200, gain_db=-4),
            params.Peak(frequency=800, gain_db=9, q=4),
            params.HighShelf(frequency=3_000, gain_db=5),
            params.LowPass(frequency=7_000, q=1.2),
        )
    ),
    params.Drive(amount_db=24, curve="soft", oversample=2),
    params.Drive(amount_db=24, curve="hard", oversample=4),
    params.Drive(amount_db=24, curve="tube", oversample=8, mix=0.6),
    params.Ir(length_ms=60),
    params.Delay(time_ms=1, feedback=0.9, mix=0.5),
    params.Delay(time_ms=173, feedback=0.6),
]


def response() -> Samples:
    taps = np.random.default_rng(5).normal(size=2_880) * np.exp(-np.arange(2_880) / 400)
    return np.asarray(taps / np.sqrt(np.sum(taps**2)))


def through(block: Block, sound: Samples, *, chunk: int = 4096) -> Samples:
    taps = response() if isinstance(block, params.Ir) else None
    return run_all([blocks.processor(block, taps)], sound, chunk=chunk)


def run_all(row: Sequence[blocks.Processor], sound: Samples, *, chunk: int = 4096) -> Samples:
    return run(row, sound.astype(np.float32), chunk=chunk)[0].astype(np.float64)


def noise(samples: int = 20_000) -> Samples:
    return np.random.default_rng(1).normal(size=samples) * 0.2


def sine(frequency: float, samples: int = 24_000) -> Samples:
    return np.asarray(np.sin(2 * np.pi * frequency * np.arange(samples) / blocks.RATE))


def level_db(sound: Samples) -> float:
    return float(10 * np.log10(np.mean(sound**2)))


@pytest.mark.parametrize("block", EVERY_BLOCK, ids=lambda block: type(block).__name__)
@pytest.mark.parametrize("chunk", [1_000, 37, 65_536])
def test_the_chunk_size_does_not_change_the_sound(block: Block, chunk: int) -> None:
    sound = noise(6_000)

    usual = through(block, sound)

    assert np.max(np.abs(through(block, sound, chunk=chunk) - usual)) < 1e-6


@pytest.mark.parametrize("block", EVERY_BLOCK, ids=lambda block: type(block).__name__)
def test_every_block_has_a_cost_and_keeps_the_length(block: Block) -> None:
    sound = noise(5_000)

    assert blocks.cost(block) > 0
    assert len(through(block, sound)) == len(sound)


def test_a_unit_impulse_leaves_the_sound_unchanged() -> None:
    convolver = blocks.Convolver(np.array([1.0]))

    rendered = run_all([convolver], noise())

    assert np.max(np.abs(rendered - noise())) < 1e-7


def test_the_convolver_matches_numpy_convolve() -> None:
    rendered = through(params.Ir(), noise())

    assert np.max(np.abs(rendered - np.convolve(noise(), response())[:20_000])) < 1e-6


def test_an_ir_block_needs_its_impulse_response() -> None:
    with pytest.raises(ValueError, match="needs its response"):
        blocks.processor(params.Ir())


def test_gain_is_in_decibels() -> None:
    assert through(params.Gain(db=20), np.ones(10)) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("band", "frequency", "expected_db"),
    [
        (params.HighPass(frequency=1_000), 1_000, -3.01),
        (params.HighPass(frequency=1_000), 100, -40.0),
        (params.LowPass(frequency=1_000), 1_000, -3.01),
        (params.LowPass(frequency=1_000), 100, 0.0),
        (params.Peak(frequency=1_000, gain_db=9), 1_000, 9.0),
        (params.Peak(frequency=1_000, gain_db=9, q=5), 100, 0.0),
        (params.LowShelf(frequency=2_000, gain_db=-12), 100, -12.0),
        (params.LowShelf(frequency=2_000, gain_db=-12), 2_000, -6.0),
        (params.LowShelf(frequency=500, gain_db=-12), 12_000, 0.0),
        (params.HighShelf(frequency=1_000, gain_db=8), 12_000, 8.0),
        (params.HighShelf(frequency=1_000, gain_db=8), 1_000, 4.0),
        (params.HighShelf(frequency=2_000, gain_db=8), 100, 0.0),
    ],
)
def test_a_filter_has_its_textbook_gain(band: params.Band, frequency: float, expected_db: float) -> None:
    sound = sine(frequency, 48_000)

    filtered = through(params.Eq(bands=(band,)), sound)

    # The second half is past the transient.
    assert level_db(filtered[24_000:]) - level_db(sound[24_000:]) == pytest.approx(expected_db, abs=0.1)


@pytest.mark.parametrize("curve", ["soft", "hard", "tube"])
def test_drive_is_bounded(curve: str) -> None:
    drive = params.Drive(amount_db=60, curve=curve)  # type: ignore[arg-type]

    loudest = np.max(np.abs(through(drive, noise() * 50)))

    assert 0.5 < loudest < 2.0


@pytest.mark.parametrize("oversample", [2, 4, 8])
def test_oversampled_drive_has_no_aliasing_and_no_seams(oversample: int) -> None:
    # 5 kHz: the seventh harmonic of a driven sine is above half the rate, and would fold back to 13 kHz.
    drive = params.Drive(amount_db=12, oversample=oversample)  # type: ignore[arg-type]

    driven = through(drive, sine(5_000, 48_000) * 0.5)[12_000:36_000]

    spectrum = np.abs(np.fft.rfft(driven * np.blackman(len(driven))))
    frequencies = np.fft.rfftfreq(len(driven), 1 / blocks.RATE)
    is_harmonic = np.min(np.abs(frequencies[:, None] - np.array([5_000.0, 15_000.0])), axis=1) < 20
    is_audible = frequencies < 20_000  # the filters' slope is above that
    limit = {2: 0.03, 4: 1e-3, 8: 1e-4}[oversample]
    assert np.max(spectrum[is_audible & ~is_harmonic]) < limit * np.max(spectrum)


def test_drive_without_effect_neither_changes_nor_delays_the_sound() -> None:
    sound = sine(1_000) * 1e-3

    for mix in (0.0, 0.5, 1.0):
        driven = through(params.Drive(amount_db=0, mix=mix), sound)
        assert np.max(np.abs(driven[500:-500] - sound[500:-500])) < 1e-6


def test_tube_drive_leaves_no_dc_offset() -> None:
    driven = through(params.Drive(amount_db=30, curve="tube"), sine(220, 96_000) * 0.5)

    assert abs(float(np.mean(driven[48_000:]))) < 5e-3


def test_delay_repeats_with_its_feedback() -> None:
    click = np.zeros(20_000)
    click[0] = 1.0

    echoes = through(params.Delay(time_ms=100, feedback=0.5, mix=0.4), click)

    assert echoes[[0, 4_800, 9_600, 14_400]] == pytest.approx([0.6, 0.4, 0.2, 0.1])
    assert np.count_nonzero(echoes) == 5


def test_upsampling_and_downsampling_only_delay_the_sound() -> None:
    up, down = Upsampler(4), Downsampler(4)
    sound = sine(1_000) * 0.5

    back = down.process(up.process(sound))

    late = up.latency + down.latency
    assert np.max(np.abs(back[200:] - sound[200 - late : -late])) < 1e-4


def test_the_low_pass_matches_scipy() -> None:
    expected = low_pass_taps(81, 1 / 4)

    assert np.max(np.abs(low_pass(4, 10, 5.0) - expected)) < 1e-12


def test_true_peak_finds_peaks_between_the_samples() -> None:
    quarter = np.sin(np.pi / 2 * np.arange(9_000) + np.pi / 4) * np.hanning(9_000)

    assert np.max(np.abs(quarter)) == pytest.approx(0.7071, abs=1e-3)
    expected = peak_between_samples(quarter)
    assert expected == pytest.approx(1.0, abs=0.01)
    for chunk in (777, 9_000):
        meter = TruePeak()
        for start in range(0, len(quarter), chunk):
            meter.add(quarter[start : start + chunk])
        assert meter.finish() == pytest.approx(expected, abs=1e-9)


def test_the_run_names_the_block_that_grew_past_all_bounds() -> None:
    row = [blocks.processor(params.Gain(db=60)) for _ in range(5)]

    with pytest.raises(BrokenSoundError) as caught:
        run_all(row, noise())

    assert caught.value.block == 4


def test_the_run_removes_the_latency() -> None:
    row = [blocks.processor(params.Drive(amount_db=0, oversample=8, mix=0.0)) for _ in range(4)]

    rendered = run_all(row, noise())

    assert np.max(np.abs(rendered - noise())) < 1e-7
