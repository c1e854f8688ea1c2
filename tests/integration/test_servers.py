"""The launcher of PostgreSQL and Redis, with real servers of both sources."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
import redis

from headrace.adapters.servers import (
    ServerError,
    Servers,
    Source,
    describe,
    find_postgres,
    find_redis,
    run_servers,
    shared_folders,
    start_postgres,
    start_redis,
)
from support.patience import PATIENCE_SECONDS
from support.scratch import make_server_folder

LAUNCHER = """
import sys
from pathlib import Path
from headrace.adapters.servers import run_servers
with run_servers(Path(sys.argv[1]), source=sys.argv[2]) as servers:
    print(servers.database_url, servers.redis_url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # Not tmp_path: when run as root, its parents are closed to the user postgres and every folder would move.
    folder = make_server_folder("headrace-test-")
    yield folder
    for server in ("postgres", "redis"):
        state = folder / server / "server.json"
        assert not state.exists() or msgspec.json.decode(state.read_bytes())["pid"] is None
    assert processes_over(folder) == []
    shutil.rmtree(folder)


@pytest.fixture(params=["embedded", "system"])
def source(request: pytest.FixtureRequest) -> Source:
    kind: Source = request.param
    for binaries, server in ((find_postgres(kind), "PostgreSQL"), (find_redis(kind), "Redis")):
        if binaries is None:
            pytest.skip(f"no {kind} {server} on this machine")
    return kind


def query(url: str | None, statement: str) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    with asyncio.Runner() as runner:
        return runner.run(ask())


def broker(url: str | None) -> redis.Redis:
    assert url is not None
    return redis.Redis.from_url(url, decode_responses=True)


def commands() -> list[str]:
    listing = subprocess.run(["ps", "-axww", "-o", "command"], capture_output=True, text=True, check=True)
    return listing.stdout.splitlines()


def processes_over(folder: Path) -> list[str]:
    """Return the main processes of the servers in *folder*; child processes have no path in their names."""
    signs = (f"-D {folder}/", f"-server {folder}/")
    return [line for line in commands() if any(sign in line for sign in signs)]


def kill_launcher_over(data_dir: Path, source: Source) -> tuple[str, str]:
    """Start the servers in a separate process, kill it, and return the URLs at which they still respond."""
    with launcher_over(data_dir, source) as launcher:
        database_url, redis_url = first_line(launcher).split()
        launcher.kill()
    return database_url, redis_url


def launcher_over(data_dir: Path, source: Source) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(data_dir), source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(launcher: "subprocess.Popen[str]") -> str:
    assert launcher.stdout is not None
    return launcher.stdout.readline()


def pid_of(home: Path) -> int:
    return int(msgspec.json.decode((home / "server.json").read_bytes())["pid"])


def fill(database_url: str | None, redis_url: str | None) -> None:
    query(database_url, "CREATE TABLE kept AS SELECT 7 AS number")
    with broker(redis_url) as client:
        client.set("kept", "7")


def kept(servers: Servers) -> tuple[int, str | None]:
    with broker(servers.redis_url) as client:
        return query(servers.database_url, "SELECT number FROM kept"), client.get("kept")


def test_both_servers_respond_and_leave_no_process_behind(data_dir: Path, source: Source) -> None:
    with run_servers(data_dir, source=source) as servers:
        with broker(servers.redis_url) as client:
            ping = client.ping()
        name = query(servers.database_url, "SELECT current_database() || ' ' || current_user")
        running = processes_over(data_dir)

    assert (ping, name, len(running)) == (True, "headrace headrace", 2)
    assert processes_over(data_dir) == []


def test_a_second_start_keeps_rows_and_keys(data_dir: Path, source: Source) -> None:
    with run_servers(data_dir, source=source) as servers:
        fill(servers.database_url, servers.redis_url)

    with run_servers(data_dir, source=source) as servers:
        values = kept(servers)

    assert values == (7, "7")


def test_the_servers_run_with_durable_settings(data_dir: Path, source: Source) -> None:
    settings = ("fsync", "synchronous_commit", "full_page_writes", "server_encoding", "max_connections")
    statement = " || ' ' || ".join(f"current_setting('{setting}')" for setting in settings)

    with run_servers(data_dir, source=source) as servers:
        postgres_settings = query(servers.database_url, f"SELECT {statement}")
        locale = query(servers.database_url, "SELECT datcollate FROM pg_database WHERE datname = 'headrace'")
        with broker(servers.redis_url) as client:
            redis_settings = client.config_get("appendonly", "maxmemory-policy", "protected-mode")

    assert (postgres_settings, locale) == ("on on on UTF8 200", "C")
    assert redis_settings == {
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
        "protected-mode": "yes",
    }


def test_only_the_requested_server_is_started(data_dir: Path) -> None:
    with run_servers(data_dir, postgres=False) as servers:
        running = processes_over(data_dir)

    assert servers.database_url is None
    assert servers.redis_url is not None
    assert len(running) == 1


def test_servers_of_a_killed_launcher_are_adopted_with_their_data(data_dir: Path, source: Source) -> None:
    database_url, redis_url = kill_launcher_over(data_dir, source)
    fill(database_url, redis_url)

    with run_servers(data_dir, source=source) as servers:
        values = kept(servers)

    assert (servers.database_url, servers.redis_url) == (database_url, redis_url)
    assert values == (7, "7")
    assert len([note for note in servers.notes if "took over" in note]) == 2
    assert processes_over(data_dir) == []


def test_an_orphan_that_rejects_the_password_is_stopped_and_its_data_kept(
    data_dir: Path, source: Source
) -> None:
    database_url, redis_url = kill_launcher_over(data_dir, source)
    fill(database_url, redis_url)
    with broker(redis_url) as client:
        client.config_set("requirepass", "changed behind our back")

    with run_servers(data_dir, source=source) as servers:
        values = kept(servers)

    assert servers.redis_url != redis_url
    assert values == (7, "7")


def test_an_orphan_without_a_state_file_is_found_by_its_pid_file(data_dir: Path, source: Source) -> None:
    database_url, redis_url = kill_launcher_over(data_dir, source)
    fill(database_url, redis_url)
    for server in ("postgres", "redis"):
        (data_dir / server / "server.json").unlink()

    with run_servers(data_dir, source=source) as servers:
        values = kept(servers)
        running = processes_over(data_dir)

    assert values == (7, "7")
    assert len(running) == 2


def test_killed_servers_start_again_with_their_data(data_dir: Path, source: Source) -> None:
    database_url, redis_url = kill_launcher_over(data_dir, source)
    fill(database_url, redis_url)
    for server in ("postgres", "redis"):
        os.kill(pid_of(data_dir / server), signal.SIGKILL)

    with run_servers(data_dir, source=source) as servers:
        values = kept(servers)

    assert values == (7, "7")


def test_a_server_that_died_restarts_at_the_same_address(data_dir: Path, source: Source) -> None:
    with run_servers(data_dir, source=source) as servers:
        fill(servers.database_url, servers.redis_url)
        for name, server in (("postgres", servers.postgres), ("redis", servers.redis)):
            assert server
            assert server.running.child
            os.kill(pid_of(data_dir / name), signal.SIGKILL)
            server.running.child.wait(PATIENCE_SECONDS)
            was_alive = server.is_alive()
            server.restart()
            assert (was_alive, server.is_alive()) == (False, True)
        values = kept(servers)

    assert values == (7, "7")
    assert processes_over(data_dir) == []


def test_a_second_launcher_is_refused_with_a_one_line_error(data_dir: Path, source: Source) -> None:
    with launcher_over(data_dir, source) as first:
        first_line(first)

        with (
            pytest.raises(
                ServerError, match=rf"^another launcher \(process {first.pid}\) runs .*$"
            ) as refused,
            run_servers(data_dir, source=source),
        ):
            pytest.fail("two launchers at work over one folder")
        first.communicate(timeout=60)

    assert "\n" not in str(refused.value)
    assert first.returncode == 0


def test_the_servers_run_in_process_groups_that_ctrl_c_does_not_reach(data_dir: Path) -> None:
    with run_servers(data_dir) as servers:
        groups = {os.getpgid(pid_of(data_dir / server)) for server in ("postgres", "redis")}
        assert [note for note in servers.notes if str(data_dir) in note] == []

    assert os.getpgid(0) not in groups
    assert len(groups) == 2


@pytest.mark.parametrize("server", ["postgres", "redis"])
def test_a_foreign_process_with_the_recorded_pid_is_not_killed(data_dir: Path, server: str) -> None:
    start = start_postgres if server == "postgres" else start_redis
    first = start(data_dir)
    started = msgspec.json.decode((data_dir / server / "server.json").read_bytes())
    first.stop()
    # PostgreSQL's own check of postmaster.pid would take a process of this user for another PostgreSQL.
    owner = (data_dir / server).stat()
    with subprocess.Popen(
        ["sleep", "600"], user=owner.st_uid if os.geteuid() == 0 else None, start_new_session=True
    ) as foreign:
        (data_dir / server / "server.json").write_text(
            msgspec.json.encode(started | {"pid": foreign.pid}).decode()
        )
        own = data_dir / server / ("redis.pid" if server == "redis" else "data/postmaster.pid")
        own.write_text(f"{foreign.pid}\n{data_dir / server / 'data'}\n1\n{started['port']}\n\n127.0.0.1\n")
        os.chown(own, owner.st_uid, owner.st_gid)

        second = start(data_dir)
        second.stop()
        alive = foreign.poll() is None
        foreign.kill()

    assert alive


def test_passwords_are_in_private_files_and_not_in_the_process_list(data_dir: Path, source: Source) -> None:
    with run_servers(data_dir, source=source):
        listing = "\n".join(commands())
        passwords = [(data_dir / server / "password").read_text() for server in ("postgres", "redis")]

    assert not any(password in listing for password in passwords)
    assert len(set(passwords)) == 2
    for server in ("postgres", "redis"):
        folder = data_dir / server
        assert oct(folder.stat().st_mode & 0o777) == oct(0o700)
        assert {path.stat().st_mode & 0o077 for path in folder.iterdir()} == {0}


def test_connections_require_the_password(data_dir: Path, source: Source) -> None:
    with run_servers(data_dir, source=source) as servers:
        assert servers.database_url is not None
        assert servers.redis_url is not None

        with pytest.raises(asyncpg.InvalidPasswordError):
            query(re.sub(r":[^:@/]+@", ":wrong@", servers.database_url), "SELECT 1")
        with (
            redis.Redis.from_url(re.sub(r":[^:@/]+@", "", servers.redis_url)) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no /proc/net/tcp to read the listeners from")
def test_both_servers_listen_on_loopback_only(data_dir: Path, source: Source) -> None:
    with run_servers(data_dir, source=source) as servers:
        urls = (servers.database_url or "", servers.redis_url or "")
        ports = {int(match[1]) for url in urls for match in [re.search(r":(\d+)/", url)] if match}
        tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
        rows = [row.split() for table in tables if table.exists() for row in table.read_text().splitlines()]
        listening = [row[1].split(":") for row in rows if row[3] == "0A"]

    assert len(ports) == 2
    # Addresses are hexadecimal in the machine's byte order: 127.0.0.1 (proc(5)).
    assert {address for address, port in listening if int(port, 16) in ports} <= {"0100007F", "7F000001"}
    assert {int(port, 16) for _, port in listening} >= ports


def test_a_folder_of_another_major_version_is_refused_with_a_one_line_error(data_dir: Path) -> None:
    with run_servers(data_dir, redis=False):
        pass
    (data_dir / "postgres" / "data" / "PG_VERSION").write_text("9\n")

    with pytest.raises(ServerError, match=r"was made by PostgreSQL 9 and only .* is found") as refused:
        start_postgres(data_dir)

    assert "\n" not in str(refused.value)
    assert str(data_dir) in str(refused.value)
    texts = [finding.text for finding in describe(data_dir) if not finding.ok]
    assert len(texts) == 1
    assert "was made by PostgreSQL 9" in texts[0]


def test_a_folder_is_opened_with_the_binaries_of_its_major_version(data_dir: Path) -> None:
    if find_postgres("embedded") is None or find_postgres("system") is None:
        pytest.skip("this test needs the PostgreSQL of both sources")
    made_by = start_postgres(data_dir, "system")
    made_by.stop()

    opened_by = start_postgres(data_dir)
    opened_by.stop()

    assert opened_by.version.split(".")[0] == made_by.version.split(".")[0]


def test_a_folder_written_by_valkey_is_not_opened_by_an_older_redis(data_dir: Path) -> None:
    if find_redis("embedded") is None or find_redis("system") is None:
        pytest.skip("this test needs the Redis of both sources")
    start_redis(data_dir, "embedded").stop()

    with pytest.raises(ServerError, match=r"was written by the embedded server .* cannot read it") as refused:
        start_redis(data_dir, "system").stop()
    again = start_redis(data_dir)
    again.stop()

    assert "\n" not in str(refused.value)


def test_an_unfinished_data_folder_is_created_again(data_dir: Path) -> None:
    with run_servers(data_dir, redis=False):
        pass
    home = data_dir / "postgres"
    (home / "data").rename(home / "data.new-0")

    with run_servers(data_dir, redis=False) as servers:
        value = query(servers.database_url, "SELECT 1")

    assert value == 1
    assert [path.name for path in home.iterdir() if path.is_dir()] == ["data"]


def test_a_missing_password_file_is_reported_in_one_line(data_dir: Path) -> None:
    with run_servers(data_dir, redis=False):
        pass
    (data_dir / "postgres" / "password").unlink()

    with pytest.raises(ServerError, match=r"^\S+/password is missing: .*$"):
        start_postgres(data_dir)


def test_describe_reports_running_servers_and_orphans(data_dir: Path) -> None:
    with run_servers(data_dir):
        running = describe(data_dir)
    kill_launcher_over(data_dir, "any")

    orphaned = describe(data_dir)
    with run_servers(data_dir):
        pass

    assert [finding.text for finding in running if not finding.ok] == []
    assert len([finding for finding in running if "it runs as process" in finding.text]) == 2
    assert [finding.subject for finding in orphaned if not finding.ok] == ["PostgreSQL", "Redis"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_root_moves_folders_that_the_servers_user_cannot_reach_and_notes_it(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(shared_folders, "SHARED_ROOTS", [data_dir])

    with run_servers(closed) as servers:
        fill(servers.database_url, servers.redis_url)
    with run_servers(closed) as servers:
        values = kept(servers)
    moved = shared_folders.shared_folder(data_dir, closed)

    assert values == (7, "7")
    # A second note names the binaries if the servers' user cannot reach those either.
    assert [str(moved / "postgres") in note for note in servers.notes if "binaries" not in note] == [True]
    assert oct(moved.stat().st_mode & 0o777) == oct(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
@pytest.mark.parametrize("planted", ["a link", "open to all", "somebody else's"])
def test_root_refuses_a_shared_folder_that_it_did_not_create(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(shared_folders, "SHARED_ROOTS", [data_dir])
    folder = shared_folders.shared_folder(data_dir, closed)
    if planted == "a link":
        folder.symlink_to(closed)
    else:
        folder.mkdir(mode=0o700)
        if planted == "open to all":
            folder.chmod(0o777)
        else:
            os.chown(folder, 54321, 54321)

    with pytest.raises(ServerError, match="was not made by Headrace"):
        start_postgres(closed)

    assert not (closed / "data").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_root_copies_binaries_that_the_servers_user_cannot_reach(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = find_postgres("embedded")
    if embedded is None:
        pytest.skip("no embedded PostgreSQL on this machine")
    package = embedded.folder.parent.parent
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)
    install = embedded.folder.parent
    shutil.copytree(install, closed / package.name / install.name)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, closed / libraries.name)
    monkeypatch.setattr(shared_folders, "SHARED_ROOTS", [data_dir])
    monkeypatch.setattr(
        "headrace.adapters.servers.binaries._packages",
        lambda name: [closed / package.name] if name == package.name else [],
    )

    with run_servers(data_dir, redis=False, source="embedded") as servers:
        value = query(servers.database_url, "SELECT 1")

    assert value == 1
    assert "PostgreSQL runs from a copy in" in servers.notes[0]
