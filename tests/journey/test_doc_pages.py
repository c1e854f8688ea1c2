"""The commands and programs of each page run as written, in the order of the page, against a live service."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from journey.starting import Up, temporary_folder, up
from support.doc_blocks import PAGES, ROOT, Block, blocks_of, is_run_in_page

ADDRESS: Final = re.compile(r"\b(?:127\.0\.0\.1|localhost):8000\b")
UP: Final = re.compile(r"^((?:[A-Z_]+=\S+ )*)headrace up$", re.MULTILINE)
BIN: Final = Path(sys.executable).parent
SECONDS: Final = 300.0
# An answer with an error must not look like success.
PROLOGUE: Final = 'set -euo pipefail\ncurl() { command curl --fail-with-body "$@"; }\n'
INPUTS: Final = {"my-di.wav": ROOT / "src" / "pipelines" / "shootout" / "assets" / "riff.wav"}
"""Files that a reader has."""


RUN: Final = {
    page.relative_to(ROOT).as_posix(): [block for block in blocks_of(page) if is_run_in_page(block)]
    for page in PAGES
}
STARTING: Final = [name for name, blocks in RUN.items() if any(UP.search(block.text) for block in blocks)]
OTHERS: Final = [name for name, blocks in RUN.items() if blocks and name not in STARTING]


class PageSession:
    """A folder and a shell in which the blocks of a page run, with the variables of the blocks before."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url
        self._names = {"API"}
        self._variables = folder / "variables.sh"
        self._variables.write_text(f"API={url}/api/v1\n")
        for name, file in INPUTS.items():
            (folder / name).write_bytes(file.read_bytes())

    def save(self, block: Block) -> None:
        """Save a block under the name that the page tells."""
        (self._folder / str(block.file)).write_text(block.text)

    def run(self, block: Block) -> str:
        """Run a block to its end, and return what it printed."""
        text = ADDRESS.sub(self._url.partition("://")[2], block.text)
        if block.language == "python":
            command = [sys.executable, "-c", text]
        else:
            self._names |= set(re.findall(r"^([A-Z_]+)=", text, re.MULTILINE))
            keep = f"declare -p {' '.join(self._names)} > {self._variables}"
            command = ["bash", "-c", f"source {self._variables}\n{PROLOGUE}{text}\n{keep}\n"]
        result = subprocess.run(
            command,
            cwd=self._folder,
            env={"PATH": f"{BIN}:/usr/bin:/bin", "HEADRACE_URL": self._url, "HOME": str(self._folder)},
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert result.returncode == block.status, f"{block.place}: {result.stdout[-2000:]}{result.stderr}"
        return result.stdout


@pytest.fixture(scope="module")
def service() -> Iterator[Up]:
    with temporary_folder() as folder, up(folder) as running:
        yield running


@pytest.mark.parametrize("page", OTHERS)
def test_a_page_runs_as_written(page: str, service: Up, tmp_path: Path) -> None:
    session = PageSession(tmp_path, service.url)

    for block in RUN[page]:
        if block.file:
            session.save(block)
        session.run(block)


@pytest.mark.slow
@pytest.mark.parametrize("page", STARTING)
def test_a_page_that_starts_the_service_runs_as_written(page: str, tmp_path: Path) -> None:
    blocks = RUN[page]
    position, line = next(
        (position, line)
        for position, block in enumerate(blocks)
        if (line := UP.search(block.text)) is not None
    )
    before, after = blocks[:position], blocks[position + 1 :]
    variables = dict(pair.split("=", 1) for pair in line[1].split())
    for block in before:
        assert block.file, f"{block.place} comes before the service, and is no file"
        (tmp_path / block.file).write_text(block.text)

    with temporary_folder() as folder, up(folder, cwd=tmp_path, **variables) as running:
        session = PageSession(tmp_path, running.url)
        printed = [session.run(block) for block in after]

    assert any("succeeded" in text for text in printed)


def test_the_tour_of_the_readme_is_run() -> None:
    tour = [block for block in RUN["README.md"] if "headrace watch $JOB" in block.text]

    assert "README.md" in STARTING
    assert len(tour) >= 1
