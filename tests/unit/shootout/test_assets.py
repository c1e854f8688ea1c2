"""The bundled guitar and cabinet equal those that their script generates."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from headrace.pipelines.shootout import make_assets
from headrace.pipelines.shootout.audio import ASSETS
from unit.shootout.references import integrated_loudness


@pytest.mark.parametrize("name", ["riff.wav", "cabinet.wav"])
def test_the_script_generates_the_committed_file(tmp_path: Path, name: str) -> None:
    make_assets.main(tmp_path)

    generated, _ = soundfile.read(tmp_path / name)
    committed, rate = soundfile.read(ASSETS / name)
    assert soundfile.info(ASSETS / name).subtype == "PCM_24"
    assert rate == 48_000
    assert generated.shape == committed.shape
    assert np.max(np.abs(generated - committed)) < 1e-5


def test_the_assets_are_small_and_loud_enough() -> None:
    riff, rate = soundfile.read(ASSETS / "riff.wav")

    assert sum(file.stat().st_size for file in ASSETS.iterdir()) < 2_000_000
    assert 7 < len(riff) / 48_000 < 10
    assert -26 < integrated_loudness(riff, rate) < -14
    assert np.max(np.abs(riff)) <= 0.5 + 1e-6


@pytest.mark.parametrize(
    ("frequency", "muted"), [(82.407, False), (196.0, False), (329.63, False), (82.407, True)]
)
def test_a_string_is_in_tune(frequency: float, muted: bool) -> None:
    string = make_assets.pluck(frequency, 1.5, muted=muted, seed=1)

    spectrum = np.abs(np.fft.rfft(string * np.hanning(len(string)), 1 << 19))
    frequencies = np.fft.rfftfreq(1 << 19, 1 / 48_000)
    near = np.abs(frequencies - frequency) < frequency * 0.2
    found = float(frequencies[near][np.argmax(spectrum[near])])
    assert abs(1200 * np.log2(found / frequency)) < 10  # cents


def test_the_demo_uses_only_bundled_files() -> None:
    demo = msgspec.json.decode((ASSETS / "demo.json").read_bytes())

    files = [block.get("file", "builtin") for chain in demo["chains"] for block in chain["blocks"]]
    assert {demo["di"], *files} == {"builtin"}
