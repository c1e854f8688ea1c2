"""PostgreSQL for one data folder: SCRAM passwords, loopback only, full durability."""

import asyncio
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGQUIT
from typing import Final

import asyncpg

from headrace.adapters.servers.binaries import PostgresBinaries, Source, nothing_found, search_postgres
from headrace.adapters.servers.binary_copies import reachable_binaries
from headrace.adapters.servers.errors import ServerError
from headrace.adapters.servers.folders import Home, ensure_password, write_private
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
# Fast shutdown, immediate shutdown, kill (PostgreSQL manual, "Shutting Down the Server").
_SIGNALS: Final = ((SIGINT, 30.0), (SIGQUIT, 10.0), (SIGKILL, 5.0))


def start_postgres(data_dir: Path, source: Source = "any") -> EmbeddedServer:
    """Start PostgreSQL on *data_dir*/postgres, or take over the one that a killed launcher left running.

    Its superuser `headrace` owns its database `headrace`.

    Raises:
        ServerError: there are no usable binaries, the folder cannot be used, or another launcher uses it.
    """
    search = search_postgres(source)
    if not search.usable:
        raise nothing_found("PostgreSQL", source, search.problems)

    def serve(home: Home, port: int | None) -> tuple[RunningServer, tuple[str, ...]]:
        return _serve(home, port, source, search.usable)

    return start(data_dir, NAME, serve, build_address, root_may_run=False)


def cluster_folder(home: Path) -> Path:
    """Return the folder that PostgreSQL calls its data directory."""
    return home / "data"


def read_major(cluster: Path) -> int | None:
    """Return the major version that created this data directory; None before it exists."""
    try:
        return int((cluster / "PG_VERSION").read_text().strip())
    except FileNotFoundError:
        return None


def build_program(home: Home) -> Program:
    """Describe how to recognise, probe and stop the PostgreSQL of *home*."""
    cluster = cluster_folder(home.path)
    return Program(
        label="PostgreSQL",
        binary="postgres",
        home=home,
        argument=f"-D {cluster}",
        own_pid_file=cluster / "postmaster.pid",
        answers=lambda port: _answers_in_thread(port, home.password_file.read_text().strip()),
        signals=_SIGNALS,
    )


def build_address(home: Home, port: int) -> str:
    """Return the URL of the server of *home* on *port*."""
    return f"postgresql://{_USER}:{ensure_password(home)}@127.0.0.1:{port}/{_USER}"


def _serve(
    home: Home, port: int | None, source: Source, usable: list[PostgresBinaries]
) -> tuple[RunningServer, tuple[str, ...]]:
    cluster = cluster_folder(home.path)
    for draft in home.path.glob(f"{_DRAFT}*"):
        shutil.rmtree(draft, ignore_errors=True)
    if read_major(cluster) is not None and not home.password_file.exists():
        raise ServerError(
            f"{home.password_file} is missing: restore it, or move {home.path} away to start empty"
        )
    ensure_password(home)
    program = build_program(home)
    running = adopt(program, source)
    if running:
        return running, ("took over the PostgreSQL that a killed launcher had left running",)
    binaries, notes = _choose(home, cluster, usable)
    if read_major(cluster) is None:
        _initialise(home, cluster, binaries)
    _remove_stale_pid_file(program)
    options = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]

    def command(own_port: int) -> list[str | Path]:
        return [binaries.folder / "postgres", "-D", cluster, "-p", str(own_port), *options]

    return launch(program, binaries, port, command), notes


def _choose(
    home: Home, cluster: Path, usable: list[PostgresBinaries]
) -> tuple[PostgresBinaries, tuple[str, ...]]:
    major = read_major(cluster)
    compatible = [binaries for binaries in usable if major in (None, binaries.major)]
    if not compatible:
        versions = ", ".join(binaries.version for binaries in usable)
        raise ServerError(
            f"{cluster} was made by PostgreSQL {major} and only {versions} is found: "
            f"install PostgreSQL {major} or move that folder away"
        )
    for binaries in compatible:
        reachable = reachable_binaries(binaries, home.account)
        if reachable:
            return reachable
    user = home.account.name if home.account else "we"
    raise ServerError(
        f"user {user} cannot run {compatible[0].folder / 'postgres'}: make that folder passable"
    )


def _initialise(home: Home, cluster: Path, binaries: PostgresBinaries) -> None:
    """Create the data directory as a draft first: a killed launcher must not leave an incomplete one."""
    # A new draft name each time: the initdb of a killed launcher may still write to the last one.
    draft = home.path / f"{_DRAFT}{secrets.token_hex(4)}"
    completed = run(
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
    if completed.returncode != 0:
        errors = [line for line in completed.stderr.splitlines() if "error" in line.lower()] or [
            "it printed nothing"
        ]
        write_private(home.path / "initdb.log", completed.stdout + completed.stderr, home.account)
        raise ServerError(f"initdb failed: {errors[-1]} (see {home.path / 'initdb.log'})")
    draft.rename(cluster)


def _remove_stale_pid_file(program: Program) -> None:
    """Remove a pid file that names a zombie or another program, which PostgreSQL takes for a live server.

    PostgreSQL's second guard, the shared memory that belongs to the folder, still works.
    """
    try:
        process = Process.from_pid(int(program.own_pid_file.read_text().split()[0]))
    except (OSError, ValueError, IndexError):
        return
    if process is None or not process.runs(program.binary, program.argument):
        program.own_pid_file.unlink()


def _answers_in_thread(port: int, password: str) -> bool:
    # In a separate thread, because the caller's thread may have an event loop.
    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(asyncio.run, _answers(port, password)).result()


async def _answers(port: int, password: str) -> bool:
    """Return whether the server accepts our password; create its database if it is missing."""
    try:
        await _execute(port, password, _USER, "SELECT 1")
    except asyncpg.InvalidCatalogNameError:
        await _execute(port, password, "postgres", f"CREATE DATABASE {_USER}")
    except asyncpg.InvalidPasswordError as error:
        raise ServerError("the PostgreSQL data folder has another password than the stored one") from error
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
