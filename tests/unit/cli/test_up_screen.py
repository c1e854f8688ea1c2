"""The ready block of `up` and what it prints after a reload."""

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from headrace.cli.service import Service, ServiceSpec
from headrace.cli.up_screen import UpScreen
from headrace.settings import Settings

FAULT = "flows.py:3: NameError: name 'x' is not defined"


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def screen(output: io.StringIO) -> UpScreen:
    return UpScreen(Console(file=output, width=60))


def spec(folder: Path, *, reload: bool) -> ServiceSpec:
    return ServiceSpec(
        settings=Settings(), host="127.0.0.1", port=8000, workers=2, data_dir=folder, reload=reload
    )


@pytest.mark.parametrize(
    ("reload", "advice"),
    [(False, "correct it, then stop this and start it again"), (True, "correct it and save the file")],
)
def test_the_ready_block_says_which_source_has_a_fault_and_what_to_do(
    screen: UpScreen, output: io.StringIO, tmp_path: Path, reload: bool, advice: str
) -> None:
    screen.show_ready(spec(tmp_path, reload=reload), ["noop"], [], [FAULT, "two\nlines"])

    lines = output.getvalue().splitlines()
    assert [line for line in lines if line.startswith("fault ")] == [
        f"fault      {FAULT}; {advice}",
        f"fault      two\\nlines; {advice}",
    ]


def test_a_ready_block_without_faults_has_no_such_line(
    screen: UpScreen, output: io.StringIO, tmp_path: Path
) -> None:
    screen.show_ready(spec(tmp_path, reload=False), ["noop"], [])

    assert "fault" not in output.getvalue()


def test_a_reload_says_what_is_served_and_what_is_wrong(screen: UpScreen, output: io.StringIO) -> None:
    screen.show_reloaded(["noop", "ticks"], [FAULT])
    screen.show_reloaded([], [])

    assert output.getvalue().splitlines() == [
        "reload    ready again; pipelines: noop, ticks",
        f"reload    {FAULT}; correct it and save the file",
        "reload    ready again; pipelines: none",
    ]


def test_the_faults_of_all_workers_are_listed_once(tmp_path: Path) -> None:
    service = Service(spec(tmp_path, reload=False), lambda _source, _line: None)
    assert service.load_faults() == []
    run = tmp_path / "run"
    run.mkdir()
    for number, faults in enumerate((["a", "b"], ["a", "c"]), start=1):
        (run / f"worker-{number}.faults").write_bytes(msgspec.json.encode(faults))

    assert service.load_faults() == ["a", "b", "c"]
