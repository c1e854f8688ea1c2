"""What the service stores is closed to other accounts of the machine, also what an older one left open."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.log_files import open_log
from headrace.adapters.private_files import make_data_dir, make_private_folder, restrict
from headrace.settings import Settings
from headrace.workers.crash_record import CrashRecord
from support.blobs import stored
from support.harness import serving, working

FILE_ID = UUID(int=0x1F)


@pytest.fixture(autouse=True)
def careless_umask() -> Iterator[None]:
    """Run with a umask that leaves every right to everybody."""
    previous = os.umask(0)
    yield
    os.umask(previous)


def open_to_others(folder: Path) -> list[str]:
    """Return the files and folders, with *folder* itself, on which other accounts have rights."""
    paths = [folder, *folder.rglob("*")]
    return [f"{path} {path.stat().st_mode:o}" for path in paths if path.stat().st_mode & 0o077]


async def test_uploads_and_files_of_steps_are_private(settings: Settings) -> None:
    blobs = BlobStore(settings.blob_dir, max_bytes=1_000_000)
    during: list[str] = []

    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        during.extend(open_to_others(settings.blob_dir))
        yield b"second"

    await blobs.put_stream(FILE_ID, chunks())
    blobs.put(UUID(int=2), b"of a step")

    assert during == open_to_others(settings.blob_dir) == []
    assert len(stored(settings)) == 2
    assert {path.stat().st_mode & 0o777 for path in stored(settings)} == {0o600}


@pytest.mark.parametrize("part", ["api", "worker"])
async def test_a_store_that_was_open_is_closed_at_the_start(settings: Settings, part: str) -> None:
    shard = settings.blob_dir / "1f"
    shard.mkdir(parents=True, mode=0o755)
    for path in (shard / f"{FILE_ID}.{UUID(int=1).hex}", settings.blob_dir / ".1.part"):
        path.write_bytes(b"old")
        path.chmod(0o644)
    settings.blob_dir.chmod(0o755)

    async with serving(settings) if part == "api" else working(settings):
        assert open_to_others(settings.blob_dir) == []
    assert (shard / f"{FILE_ID}.{UUID(int=1).hex}").read_bytes() == b"old"


def test_links_in_an_open_store_are_not_followed(settings: Settings, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("of the system")
    outside.chmod(0o644)
    elsewhere = tmp_path / "disk"
    elsewhere.mkdir()
    settings.blob_dir.parent.mkdir(exist_ok=True)
    settings.blob_dir.symlink_to(elsewhere)
    (elsewhere / "1f").symlink_to(outside)

    BlobStore(settings.blob_dir, max_bytes=1).restrict()

    assert elsewhere.stat().st_mode & 0o777 == 0o700
    assert outside.stat().st_mode & 0o777 == 0o644


def test_files_that_cannot_be_changed_are_counted_in_one_line_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        path.write_text("of another account")
        path.chmod(0o644)

    def refuse(path: Path, _mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(os, "chmod", refuse)
    with capture_logs() as lines:
        count = restrict([*paths, tmp_path / "missing"])

    assert (count, [(line["event"], line["files"]) for line in lines]) == (0, [("not_private", 2)])


def test_logs_and_crash_records_are_private_even_if_older_ones_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir(mode=0o755)
    (folder / "old.log").write_text("old\n")

    make_private_folder(folder)
    for name in ("old.log", "new.log"):
        with open_log(folder / name) as log:
            log.write(b"new\n")
    CrashRecord(folder / "worker-1.crash", "worker")

    assert open_to_others(folder) == []
    assert (folder / "old.log").read_text() == "old\nnew\n"


def test_a_new_data_folder_cannot_be_listed_by_others_and_an_older_one_keeps_its_mode(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir(mode=0o755)

    make_data_dir(old)
    make_data_dir(new)

    # Under root an embedded server passes through the folder as another account.
    assert new.stat().st_mode & 0o777 == (0o711 if os.geteuid() == 0 else 0o700)
    assert old.stat().st_mode & 0o777 == 0o755
