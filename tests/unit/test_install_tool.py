"""The installer of the Makefile: which packages it leaves out, and which sizes it prints."""

import re
from pathlib import Path
from typing import Final

import install
import pytest

ROOT: Final = Path(__file__).parents[2]
LOCK: Final = """\
faker==1.0 \\
    --hash=sha256:aa
httpx==2.0 ; sys_platform == 'linux' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
polyfactory==3.0 \\
    --hash=sha256:dd
"""


def left_out() -> set[str]:
    """Return the packages that the Makefile leaves out of the installation for `make try`."""
    (names,) = re.findall(r"^UNUSED := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return set(names.split(","))


def locked(name: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9][a-z0-9-]*)==", (ROOT / name).read_text(), re.MULTILINE))


def test_packages_are_left_out_with_their_hashes(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(LOCK)
    copies = tmp_path / "copies"
    copies.mkdir()

    copy = install.without_packages(lock, {"faker", "polyfactory"}, copies)

    assert copy.read_text() == "".join(LOCK.splitlines(keepends=True)[2:5])
    assert install.without_packages(lock, set(), copies) == lock


def test_what_is_left_out_of_the_small_demo_is_locked_and_comes_with_all_other_installations() -> None:
    assert left_out()
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-shootout.lock"):
        assert left_out() <= locked(name)


@pytest.mark.parametrize(
    ("output", "sizes"),
    [
        ([], "downloaded 0 MB"),
        (
            ["Collecting a", "  Downloading a-1.whl (1.5 MB)", "  Downloading b-1.whl (600 kB)"],
            "downloaded 2 MB",
        ),
        (
            ["  Downloading a-1.whl (10 bytes)", "  Using cached b-1.whl (1.2 GB)"],
            "downloaded 0 MB and took 1200 MB from pip's cache",
        ),
    ],
)
def test_the_sizes_are_those_that_pip_prints(output: list[str], sizes: str) -> None:
    assert install.describe_sizes(output) == sizes
