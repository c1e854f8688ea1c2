"""The commands and programs of each page run as written, in the order of the page, against a live service."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from journey.starting import Up, temporary_folder, up
from support.doc_blocks import PAGES, ROOT, Block, blocks_of, is_run_in_page

ADDRESS: Final = re.compile(r"\b(?:127\.0\.0\.1|localhost):8000\b")
UP: Final = re.compile(r"^((?:[A-Z_]+=\S+ )*)headrace up(?: .*)?$", re.MULTILINE)
BIN: Final = Path(sys.executable).parent
SECONDS: Final = 300.0
INPUTS: Final = {"my-di.wav": ROOT / "src" / "pipelines" / "shootout" / "assets" / "riff.wav"}
"""Files that a reader has."""
SCRIPT: Final = """\
source {state}
set -euo pipefail
curl() {{ command curl --fail-with-body "$@"; }}  # an answer with an error must not look like success
{text}
{{ declare -p {names}; echo "cd '$PWD'"; }} > {state}
"""

pytestmark = pytest.mark.skipif(
    not (shutil.which("bash") and shutil.which("curl")), reason="the pages use bash and curl"
)

RUN: Final = {
    page.relative_to(ROOT).as_posix(): [block for block in blocks_of(page) if is_run_in_page(block)]
    for page in PAGES
}
STARTING: Final = [name for name, blocks in RUN.items() if any(UP.search(block.text) for block in blocks)]
OTHERS: Final = [name for name, blocks in RUN.items() if blocks and name not in STARTING]


class PageSession:
    """A folder and a shell in which the blocks of a page run: variables and the current folder are kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state = folder / "state.sh"
        self._names = {"API"}
        for name, file in INPUTS.items():
            (folder / name).write_bytes(file.read_bytes())
        self._state.write_text("API=\n")
        self._environment = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(folder)}
        self._url = ""

    @property
    def current_folder(self) -> Path:
        """The folder to which the blocks have changed."""
        changes = re.findall(r"^cd '(.+)'$", self._state.read_text(), re.MULTILINE)
        return Path(changes[-1]) if changes else self._folder

    def use(self, service: Up) -> None:
        """Run the next blocks beside *service*, and send their requests to it."""
        self._url = service.url
        self._environment |= {"HEADRACE_URL": service.url, "HEADRACE_DATA_DIR": str(service.folder)}
        with self._state.open("a") as state:
            state.write(f"API={service.url}/api/v1\n")

    def run(self, block: Block) -> str:
        """Save a block as the page says, or run it to its end. Return what it printed."""
        if block.file:
            (self.current_folder / block.file).write_text(block.text)
            return ""
        text = ADDRESS.sub(self._url.partition("://")[2], block.text)
        if block.language == "python":
            command = [sys.executable, "-c", text]
        else:
            self._names |= set(re.findall(r"^([A-Z_]+)=", text, re.MULTILINE))
            names = " ".join(self._names)
            command = ["bash", "-c", SCRIPT.format(state=self._state, text=text, names=names)]
        result = subprocess.run(
            command,
            cwd=self.current_folder,
            env=self._environment,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert result.returncode == block.status, (
            f"{block.place} ended with {result.returncode}: {result.stdout[-2000:]}{result.stderr}"
            " (if a reader cannot run it as it stands, write above it: <!-- not run: REASON -->)"
        )
        return result.stdout


@pytest.fixture(scope="module")
def service() -> Iterator[Up]:
    with temporary_folder() as folder, up(folder) as running:
        yield running


@pytest.mark.parametrize("page", OTHERS)
def test_a_page_runs_as_written(page: str, service: Up, tmp_path: Path) -> None:
    session = PageSession(tmp_path)
    session.use(service)

    for block in RUN[page]:
        session.run(block)


@pytest.mark.slow
@pytest.mark.parametrize("page", STARTING)
def test_a_page_that_starts_the_service_runs_as_written(page: str, tmp_path: Path) -> None:
    session = PageSession(tmp_path)
    printed = []
    with ExitStack() as services:
        for block in RUN[page]:
            if (line := UP.search(block.text)) is None:
                printed.append(session.run(block))
                continue
            services.close()
            variables = dict(pair.split("=", 1) for pair in line[1].split())
            folder = services.enter_context(temporary_folder())
            running = services.enter_context(up(folder, cwd=session.current_folder, **variables))
            session.use(running)

    assert any("succeeded" in text for text in printed)


def test_the_tour_of_the_readme_is_run() -> None:
    tour = [block for block in RUN["README.md"] if "headrace watch $JOB" in block.text]

    assert "README.md" in STARTING
    assert len(tour) >= 1
