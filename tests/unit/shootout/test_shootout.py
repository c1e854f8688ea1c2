"""The whole pipeline, step by step."""

import base64
import io
import itertools
import json
import pickle
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from headrace import JobCancelledError, PermanentError
from headrace.pipelines.shootout import page, shootout
from headrace.pipelines.shootout.errors import UnusableInputError
from headrace.pipelines.shootout.params import Block, Delay, Drive, Eq, Gain, HighPass, Ir
from unit.shootout.references import integrated_loudness, peak_between_samples

if TYPE_CHECKING:
    from unit.shootout.conftest import Studio

Samples = NDArray[np.float64]

CHAINS: list[dict[str, Any]] = [
    {"name": "Clean", "blocks": [{"type": "eq", "bands": [{"type": "high_pass", "frequency": 80}]}]},
    {
        "name": "Höch </script> {{facts}} $5",
        "blocks": [{"type": "drive", "amount_db": 36, "curve": "tube"}, {"type": "ir"}],
    },
    {"name": "_as it is", "blocks": []},
    {"name": "Echo 回声 🎸", "blocks": [{"type": "delay", "time_ms": 120}, {"type": "gain", "db": -40}]},
]
FLACS = ["01-clean.flac", "02-hoch-script-facts-5.flac", "03-as-it-is.flac", "04-echo.flac"]


def params(di: str, chains: list[dict[str, Any]] | None = None, **match: Any) -> dict[str, Any]:
    return {"di": di, "chains": CHAINS if chains is None else chains, "match": match}


def flac(studio: "Studio", name: str) -> Samples:
    samples, rate = soundfile.read(io.BytesIO(studio.content(name)))
    assert rate == 48_000
    return np.asarray(samples)


def true_peak_db(samples: Samples) -> float:
    return float(20 * np.log10(peak_between_samples(samples)))


@pytest.mark.parametrize("peak", [0.02, 0.5, 8.0], ids=["quiet", "usual", "hot"])
@pytest.mark.parametrize("match", [{}, {"target_lufs": -8, "ceiling_dbfs": -3}], ids=["usual", "loud"])
def test_all_tracks_are_equally_loud_and_below_the_ceiling(
    studio: "Studio", chord: Samples, peak: float, match: dict[str, Any]
) -> None:
    result = studio.run(params(studio.upload_sound(chord * 2 * peak), **match))

    loudness = [integrated_loudness(flac(studio, name)) for name in FLACS]
    assert max(loudness) - min(loudness) < 0.1
    assert result.target_lufs == pytest.approx(loudness[0], abs=0.05)
    assert result.target_lufs <= match.get("target_lufs", -16)
    for name, track in zip(FLACS, result.tracks, strict=True):
        assert true_peak_db(flac(studio, name)) <= match.get("ceiling_dbfs", -1)
        assert track.true_peak_dbtp == pytest.approx(true_peak_db(flac(studio, name)), abs=0.01)


def test_the_result_names_every_file(studio: "Studio", chord: Samples) -> None:
    result = studio.run(params(studio.upload_sound(chord)))

    assert [track.name for track in result.tracks] == [chain["name"] for chain in CHAINS]
    assert [str(track.file) for track in result.tracks] == [studio.names[name] for name in FLACS]
    assert str(result.page) == studio.names["shootout.html"]
    assert [picture.file_name for picture in result.pictures] == ["waveforms.png", "spectrum.png"]
    assert studio.media_types["01-clean.flac"] == "audio/flac"
    assert studio.media_types["shootout.html"] == "text/html"
    assert studio.content("spectrum.png").startswith(b"\x89PNG")


def test_progress_never_falls_and_ends_complete(studio: "Studio", chord: Samples) -> None:
    given = params(studio.upload_sound(chord))

    for name in shootout.nodes:
        for context in studio.run_step(name, given):
            assert all(before <= after for before, after in itertools.pairwise(context.fractions)), name
            assert context.fractions[-1] == 1, name


def test_progress_of_a_render_counts_its_chunks(studio: "Studio", chord: Samples) -> None:
    given = params(studio.upload_sound(chord))
    studio.run_step("validate", given)
    studio.run_step("prepare", given)

    contexts = studio.run_step("render", given)

    chunks = -(-studio.outputs["prepare"].samples // 4096)
    assert all(chunks <= len(context.fractions) <= chunks + 4 for context in contexts)


def test_the_same_input_gives_the_same_bytes(studio: "Studio", chord: Samples) -> None:
    given = params(studio.upload_sound(chord))

    studio.run(given)
    first = {name: studio.content(name) for name in studio.names}
    studio.run(given)

    assert {name for name in first if first[name] != studio.content(name)} == set()
    assert len(first) == 1 + 1 + 4 + 4 + 2 + 1


def test_the_page_embeds_everything_and_makes_no_requests(studio: "Studio", chord: Samples) -> None:
    studio.run(params(studio.upload_sound(chord)))

    text = studio.content("shootout.html").decode()

    assert not re.search(r"https?:|src\s*=\s*\"(?!data:)|href\s*=\s*\"|@import|\burl\(|\bfetch\(", text)
    assert "default-src 'none'" in text
    sounds = re.findall(r'<script type="text/plain" id="sound-(\d)">([^<]*)</script>', text)
    assert [int(place) for place, _ in sounds] == [0, 1, 2, 3]
    assert [base64.b64decode(sound) for _, sound in sounds] == [studio.content(name) for name in FLACS]
    assert text.count('src="data:image/png;base64,') == 2


def test_a_chain_name_cannot_inject_html_into_the_page(studio: "Studio", chord: Samples) -> None:
    studio.run(params(studio.upload_sound(chord)))

    text = studio.content("shootout.html").decode()

    [facts] = re.findall(r'<script type="application/json" id="facts">(.*?)</script>', text, re.DOTALL)
    assert [track["name"] for track in json.loads(facts)["tracks"]] == [chain["name"] for chain in CHAINS]
    assert text.count("<script") == text.count("</script>") == 4 + 2


def test_the_page_embeds_only_the_beginning_of_long_tracks(
    studio: "Studio", chord: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MAX_EMBEDDED_SECONDS", 2.0)

    studio.run(params(studio.upload_sound(chord)))

    text = studio.content("shootout.html").decode()
    sounds = re.findall(r'id="sound-\d">([^<]*)<', text)
    for sound, name in zip(sounds, FLACS, strict=True):
        samples, _ = soundfile.read(io.BytesIO(base64.b64decode(sound)))
        assert np.array_equal(samples, flac(studio, name)[:24_000])
    assert '"clipSeconds":0.5' in text


def test_a_lowered_target_is_logged(studio: "Studio", chord: Samples) -> None:
    given = params(studio.upload_sound(chord), target_lufs=-6)
    for name in ("validate", "prepare", "render"):
        studio.run_step(name, given)

    [context] = studio.run_step("match", given)

    assert studio.outputs["match"].limited_by in [chain["name"] for chain in CHAINS]
    assert "instead of -6.0" in context.logged[0][1]


def rendered(studio: "Studio", di: str, *blocks: dict[str, Any]) -> str:
    given = params(di, [{"name": "Odd", "blocks": list(blocks)}])
    studio.run_step("prepare", given)
    with pytest.raises(PermanentError) as caught:
        studio.run_step("render", given)
    assert caught.value.code == "render_failed"
    return str(caught.value)


def test_a_chain_that_ends_in_silence_is_named_with_its_block(studio: "Studio", chord: Samples) -> None:
    quiet = {"type": "gain", "db": -60}

    message = rendered(studio, studio.upload_sound(chord), {"type": "gain", "db": 0}, quiet, quiet)

    assert message == "chain 'Odd', block 3 (gain): nothing audible comes out"


def test_a_chain_that_grows_past_all_bounds_is_named_with_its_block(studio: "Studio", chord: Samples) -> None:
    message = rendered(studio, studio.upload_sound(chord), *[{"type": "gain", "db": 60}] * 24)

    assert message == "chain 'Odd', block 4 (gain): the sound grew past all bounds"


def test_a_cancelled_render_stops_at_the_next_chunk(studio: "Studio", chord: Samples) -> None:
    given = params(studio.upload_sound(chord))
    studio.run_step("prepare", given)
    context = studio.context(given)
    context.cancel_at = 0.2
    saved = set(studio.names)

    with pytest.raises(JobCancelledError):
        shootout.nodes["render"].step(context, context.params.chains[1])

    assert context.fractions[-1] < 0.35
    assert set(studio.names) == saved


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (Gain(db=-3), "gain -3 dB"),
        (Eq(bands=(HighPass(frequency=80),)), "eq, 1 band"),
        (Eq(bands=(HighPass(frequency=80),) * 2), "eq, 2 bands"),
        (Drive(amount_db=24, curve="tube"), "tube drive +24 dB"),
        (Ir(), "cabinet"),
        (Ir(file="11111111-2222-3333-4444-555555555555"), "ir"),
        (Delay(time_ms=357.5), "delay 357.5 ms"),
    ],
)
def test_the_page_describes_each_block(block: Block, words: str) -> None:
    assert page.describe(block) == words


def test_twelve_chains_are_rendered(studio: "Studio", chord: Samples) -> None:
    twelve = [{"name": f"Chain {n}", "blocks": [{"type": "gain", "db": n}]} for n in range(12)]

    result = studio.run(params(studio.upload_sound(chord), twelve))

    assert len(result.tracks) == 12


def test_an_input_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(UnusableInputError("di: file x is silent")))  # noqa: S301

    assert (error.code, str(error)) == ("input_invalid", "di: file x is silent")


def test_importing_the_pipeline_loads_no_heavy_libraries() -> None:
    program = (
        "import sys, headrace.pipelines.shootout as s; assert s.shootout.name == 'shootout';"
        "print(*{m.split('.')[0] for m in sys.modules}"
        " & {'numpy', 'scipy', 'soundfile', 'pyloudnorm', 'matplotlib'})"
    )

    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert printed.stdout.strip() == ""
