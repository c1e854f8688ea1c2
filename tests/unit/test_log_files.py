"""Logs that a process has open are rotated by their size."""

from pathlib import Path

from headrace.adapters.log_files import open_log, rotate_open_log
from headrace.cli.process_logs import LogReader


def test_a_large_log_is_emptied_and_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.log"
    with open_log(path) as log:
        reader = LogReader(path)
        log.write(b"old\n" * 100)
        log.flush()
        assert len(reader.new_lines()) == 100

        assert not rotate_open_log(path, max_bytes=400)
        assert rotate_open_log(path, max_bytes=399)
        log.write(b"new\n")
        log.flush()

        assert path.read_bytes() == b"new\n"
        assert path.with_suffix(".log.1").read_bytes() == b"old\n" * 100
        assert reader.new_lines() == ["new"]
    assert path.stat().st_mode & 0o777 == path.with_suffix(".log.1").stat().st_mode & 0o777 == 0o600


def test_a_link_in_the_folder_of_another_account_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"x" * 10)
    (tmp_path / "server.log").symlink_to(target)

    assert not rotate_open_log(tmp_path / "server.log", max_bytes=1, follows_links=False)
    assert not rotate_open_log(tmp_path / "missing.log", max_bytes=1)
    assert target.read_bytes() == b"x" * 10
