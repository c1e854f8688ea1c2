"""`up --reload` watches each file that the workers of a service have imported."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from headrace.cli import reloading
from headrace.cli.reloading import IMPORTS_SUFFIX, WatchedFiles, watch_changes
from headrace.domain.pipelines.loading import Failure, load_all
from headrace.workers.imported_files import ImportedFiles
from support.patience import PATIENCE_SECONDS


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def listed(run_dir: Path) -> set[str]:
    return set(msgspec.json.decode((run_dir / f"worker-1{IMPORTS_SUFFIX}").read_bytes(), type=list[str]))


def edit(path: Path) -> None:
    later = path.stat().st_mtime_ns + 1_000_000_000
    os.utime(path, ns=(later, later))


async def first_change(files: WatchedFiles, change: Callable[[], None]) -> str:
    """Make a change once the files are watched, and return the name of the first one that is reported."""
    has_begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    read = files.add_imports

    def add_imports() -> dict[Path, int]:
        added = read()
        loop.call_soon_threadsafe(has_begun.set)
        return added

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "add_imports", add_imports)
        waiting = asyncio.create_task(_next(files))
        await has_begun.wait()
        change()
        return (await asyncio.wait_for(waiting, PATIENCE_SECONDS)).name


async def _next(files: WatchedFiles) -> Path:
    async for path in watch_changes(files):
        return path
    raise AssertionError


@pytest.fixture(autouse=True)
def _short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "_POLL_SECONDS", 0.01)


@pytest.mark.usefixtures("fresh_imports")
def test_a_worker_lists_the_files_of_its_users(
    tmp_path: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "acme_jobs"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "helper_of_acme.py").write_text("x = 1\n")
    (package / "nightly.py").write_text("import json\nfrom acme_jobs import helper_of_acme\n")
    broken = tmp_path / "broken_for_reload.py"
    broken.write_text("def f(:\n")

    loaded = load_all(["acme_jobs.nightly", str(broken)])
    ImportedFiles(run_dir / f"worker-1{IMPORTS_SUFFIX}", loaded.failures)

    files = listed(run_dir)
    assert {str(package / "helper_of_acme.py"), str(package / "nightly.py"), str(broken)} <= files
    assert not any("site-packages" in file or "links/headrace" in file for file in files)
    assert sys.modules["json"].__file__ not in files


async def test_an_edit_of_an_imported_file_is_seen_and_its_listing_is_none(
    tmp_path: Path, run_dir: Path
) -> None:
    helper = tmp_path / "elsewhere" / "helper.py"
    helper.parent.mkdir()
    helper.write_text("x = 1\n")
    files = WatchedFiles(["acme.pipelines"], run_dir)

    (run_dir / f"worker-1{IMPORTS_SUFFIX}").write_bytes(msgspec.json.encode([str(helper)]))

    assert await first_change(files, lambda: edit(helper)) == "helper.py"


async def test_a_file_that_is_no_longer_imported_is_still_watched(tmp_path: Path, run_dir: Path) -> None:
    """An edit may have broken the module that imports it."""
    helper = tmp_path / "helper.py"
    helper.write_text("x = 1\n")
    imports = run_dir / f"worker-1{IMPORTS_SUFFIX}"
    imports.write_bytes(msgspec.json.encode([str(helper)]))
    files = WatchedFiles([], run_dir)
    assert files.add_imports().keys() == {helper}
    imports.write_bytes(b"[]")

    assert await first_change(files, lambda: edit(helper)) == "helper.py"


async def test_a_new_module_beside_a_file_is_seen(tmp_path: Path, run_dir: Path) -> None:
    source = tmp_path / "flows" / "mine.py"
    source.parent.mkdir()
    source.write_text("import missing\n")
    files = WatchedFiles([str(source)], run_dir)

    assert await first_change(files, (source.parent / "missing.py").touch) == "missing.py"


def test_files_that_are_lost_or_half_written_are_no_error(run_dir: Path) -> None:
    (run_dir / f"worker-1{IMPORTS_SUFFIX}").write_bytes(b'["/gone/mo')
    (run_dir / f"worker-2{IMPORTS_SUFFIX}").write_bytes(b'["/gone/module.py"]')
    files = WatchedFiles(["/gone/source.py"], run_dir)

    assert files.add_imports() == {}
    ImportedFiles(None, [Failure("x", "x")]).write()
