"""A temporary folder is removed with its block, or by a later process if its own was killed."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from headrace.adapters.temporary_folders import remove_abandoned_folders, temporary_folder
from support.patience import PATIENCE_SECONDS

HOLDER = """
import time
from headrace.adapters.temporary_folders import temporary_folder
with temporary_folder() as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which temporary folders are made, also by other processes."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_removed_with_its_block(root: Path) -> None:
    with temporary_folder() as folder:
        (folder / "part").mkdir()
        inside = [path.name for path in folder.iterdir()]

    assert inside == ["part"]
    assert list(root.iterdir()) == []


def test_the_folder_of_a_living_process_stays(root: Path) -> None:
    with temporary_folder() as folder, temporary_folder() as other:
        assert remove_abandoned_folders() == 0
        assert set(root.iterdir()) == {folder, other}


def test_the_folder_of_a_killed_process_is_removed_by_another_one() -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        while_it_lives = (remove_abandoned_folders(), (folder / "file").exists())
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate(timeout=PATIENCE_SECONDS)

    assert while_it_lives == (0, True)
    assert folder.exists()
    assert remove_abandoned_folders() == 1
    assert not folder.exists()


def test_a_link_and_a_file_with_such_a_name_stay(root: Path) -> None:
    kept = root / "kept"
    kept.mkdir()
    (root / "headrace-run-link").symlink_to(kept)
    (root / "headrace-run-file").touch()

    assert remove_abandoned_folders() == 0
    assert sorted(path.name for path in root.iterdir()) == ["headrace-run-file", "headrace-run-link", "kept"]


def test_a_folder_that_is_taken_for_an_abandoned_one_is_replaced(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdtemp = tempfile.mkdtemp
    stolen: list[str] = []

    def make(prefix: str) -> str:
        folder = mkdtemp(prefix=prefix)
        if not stolen:
            stolen.append(folder)
            remove_abandoned_folders()
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", make)
    with temporary_folder() as folder:
        assert [str(folder)] != stolen
        assert list(root.iterdir()) == [folder]
