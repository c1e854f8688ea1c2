"""PostgreSQL for one data folder: scram passwords, loopback only, nothing traded for speed."""

import asyncio
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGQUIT
from typing import Final

import asyncpg

from headrace.adapters.servers.binaries import PostgresBinaries, Source, nothing_found, search_postgres
from headrace.adapters.servers.errors import ServerError
from headrace.adapters.servers.folders import (
    Home,
    password_of,
    reachable_binaries,
    write_private,
)
from headrace.adapters.servers.launch import Program, RunningServer, adopt, launch
from headrace.adapters.servers.processes import Process, run
from headrace.adapters.servers.server import EmbeddedServer, start

NAME: Final = "postgres"
_USER: Final = "headrace"
_DRAFT: Final = "data.new-"
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
}
# Fast shutdown, immediate shutdown, the end (PostgreSQL manual, "Shutting Down the Server").
_SIGNALS: Final = ((SIGINT, 30.0), (SIGQUIT, 10.0), (SIGKILL, 5.0))


def start_postgres(data_dir: Path, source: Source = "any") -> EmbeddedServer:
    """Start PostgreSQL over *data_dir*/postgres, or take over the one that a killed launcher left there.

    Its database `headrace` is owned by its superuser `headrace`.

    Raises:
        ServerError: no usable binaries, a folder that cannot be used, or another launcher at work there.
    """
    search = search_postgres(source)
    if not search.found:
        raise nothing_found("PostgreSQL", source, search.problems)

    def serve(home: Home, port: int | None) -> tuple[RunningServer, tuple[str, ...]]:
        return _serve(home, port, source, search.found)

    return start(data_dir, NAME, serve, _address, root_may_run=False)


def cluster_of(home: Path) -> Path:
    """The folder that PostgreSQL itself calls its data folder."""
    return home / "data"


def major_of(cluster: Path) -> int | None:
    """The major version that made this data folder; None when it is not made yet."""
    try:
        return int((cluster / "PG_VERSION").read_text().strip())
    except FileNotFoundError:
        return None


def program_of(home: Home) -> Program:
    """How the PostgreSQL of *home* is recognised, asked and ended."""
    cluster = cluster_of(home.path)
    return Program(
        label="PostgreSQL",
        binary="postgres",
        home=home,
        argument=f"-D {cluster}",
        own_pid_file=cluster / "postmaster.pid",
        answers=lambda port: _in_thread(port, home.password_file.read_text().strip()),
        signals=_SIGNALS,
    )


def _address(home: Home, port: int) -> str:
    return f"postgresql://{_USER}:{password_of(home)}@127.0.0.1:{port}/{_USER}"


def _serve(
    home: Home, port: int | None, source: Source, found: list[PostgresBinaries]
) -> tuple[RunningServer, tuple[str, ...]]:
    cluster = cluster_of(home.path)
    for draft in home.path.glob(f"{_DRAFT}*"):
        shutil.rmtree(draft, ignore_errors=True)
    if major_of(cluster) is not None and not home.password_file.exists():
        raise ServerError(
            f"{home.password_file} is missing: restore it, or move {home.path} away to start anew"
        )
    password_of(home)
    program = program_of(home)
    running = adopt(program, source)
    if running:
        return running, ("took over the PostgreSQL that a killed launcher had left running",)
    binaries, notes = _choose(home, cluster, found)
    if major_of(cluster) is None:
        _initialise(home, cluster, binaries)
    _forget_stale_pid(program)
    settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]

    def command(own_port: int) -> list[str | Path]:
        return [binaries.folder / "postgres", "-D", cluster, "-p", str(own_port), *settings]

    return launch(program, binaries, port, command), notes


def _choose(
    home: Home, cluster: Path, found: list[PostgresBinaries]
) -> tuple[PostgresBinaries, tuple[str, ...]]:
    made_by = major_of(cluster)
    fitting = [binaries for binaries in found if made_by in (None, binaries.major)]
    if not fitting:
        versions = ", ".join(binaries.version for binaries in found)
        raise ServerError(
            f"{cluster} was made by PostgreSQL {made_by} and only {versions} is found: "
            f"install PostgreSQL {made_by} or move that folder away"
        )
    for binaries in fitting:
        reachable = reachable_binaries(binaries, home.account)
        if reachable:
            return reachable
    user = home.account.name if home.account else "we"
    raise ServerError(f"user {user} cannot run {fitting[0].folder / 'postgres'}: make that folder passable")


def _initialise(home: Home, cluster: Path, binaries: PostgresBinaries) -> None:
    """Make the data folder under another name first, so that a killed launcher leaves no half of one."""
    # A name of its own: the initdb that a killed launcher left may still be writing to the last one.
    draft = home.path / f"{_DRAFT}{secrets.token_hex(4)}"
    answer = run(
        [
            binaries.folder / "initdb",
            f"--pgdata={draft}",
            f"--username={_USER}",
            f"--pwfile={home.password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
        ],
        account=home.account,
        timeout_seconds=120,
    )
    if answer.returncode != 0:
        told = [line for line in answer.stderr.splitlines() if "error" in line.lower()] or ["it says nothing"]
        write_private(home.path / "initdb.log", answer.stdout + answer.stderr, home.account)
        raise ServerError(f"initdb failed: {told[-1]} (see {home.path / 'initdb.log'})")
    draft.rename(cluster)


def _forget_stale_pid(program: Program) -> None:
    """Remove a pid file that names a zombie or another program: PostgreSQL takes any live number for itself.

    Its second guard, the shared memory found by the folder's inode, stays in force.
    """
    try:
        process = Process.from_pid(int(program.own_pid_file.read_text().split()[0]))
    except (OSError, ValueError, IndexError):
        return
    if process is None or not process.runs(program.binary, program.argument):
        program.own_pid_file.unlink()


def _in_thread(port: int, password: str) -> bool:
    # A thread of its own: the caller's may have an event loop, running or set.
    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(asyncio.run, _answers(port, password)).result()


async def _answers(port: int, password: str) -> bool:
    """Whether the server takes our password; its database is made if it is missing."""
    try:
        await _execute(port, password, _USER, "SELECT 1")
    except asyncpg.InvalidCatalogNameError:
        await _execute(port, password, "postgres", f"CREATE DATABASE {_USER}")
    except asyncpg.InvalidPasswordError as error:
        raise ServerError("the stored password is not that of the PostgreSQL data folder") from error
    except (
        OSError,
        TimeoutError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    ):
        return False
    return True


async def _execute(port: int, password: str, database: str, statement: str) -> None:
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=port,
        user=_USER,
        password=password,
        database=database,
        ssl=False,
        timeout=2,
        command_timeout=30,
    )
    try:
        await connection.execute(statement)
    finally:
        await connection.close(timeout=2)
