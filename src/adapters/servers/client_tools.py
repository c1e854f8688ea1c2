"""Finds pg_dump and pg_restore, and runs them without a password on their command lines."""

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal
from urllib.parse import parse_qsl, urlsplit

from headrace.adapters.postgres_url import PostgresAddress
from headrace.adapters.server_urls import read_password
from headrace.adapters.servers.binaries import postgres_folders, read_version
from headrace.domain.errors import HeadraceError

ToolName = Literal["pg_dump", "pg_restore"]

_VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)\S*")
_STOP_SECONDS: Final = 10.0
_MAX_ERROR_BYTES: Final = 16_384
# libpq's variables for the parameters of a URL. It has none for the password of a key.
_VARIABLES: Final = {
    "gsslib": "PGGSSLIB",
    "krbsrvname": "PGKRBSRVNAME",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "sslcert": "PGSSLCERT",
    "sslcrl": "PGSSLCRL",
    "sslkey": "PGSSLKEY",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslrootcert": "PGSSLROOTCERT",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
}


class ToolError(HeadraceError):
    """PostgreSQL's own program is missing, too old, or has failed."""


@dataclass(frozen=True, slots=True)
class ClientTool:
    """A program of PostgreSQL, and its major version."""

    name: ToolName
    path: Path
    major: int


def find_tool(name: ToolName, server_major: int, archive_major: int = 0) -> ClientTool:
    """Return the program of the version that fits a server best: its own, else the next newer one.

    *archive_major*: pg_restore reads what the pg_dump of this version, or of an older one, has written.

    Raises:
        ToolError: there is none, or each is too old.
    """
    needed = max(server_major, archive_major)
    found = list(_installed(name))
    fitting = [tool for tool in found if tool.major >= needed]
    if fitting:
        return min(fitting, key=lambda tool: tool.major)
    older = "; ".join(f"{tool.path} is of version {tool.major}" for tool in found)
    raise ToolError(
        f"no {name} of PostgreSQL {needed} or newer found{f' ({older})' if older else ''}: install the Debian"
        f" package postgresql-client-{needed}, or pip install 'headrace[embedded]'"
    )


def _installed(name: ToolName) -> Iterator[ClientTool]:
    folders = [folder for _, folder in postgres_folders("any")]
    on_path = shutil.which(name)
    # Not resolved: Debian links the programs on the path to one that chooses a version by its name.
    paths = [*(folder / name for folder in folders), *([Path(on_path)] if on_path else [])]
    for path in dict.fromkeys(paths):
        if os.access(path, os.X_OK) and (match := _VERSION.search(read_version(path))):
            yield ClientTool(name, path, int(match[1]))


def libpq_environment(address: PostgresAddress) -> dict[str, str]:
    """Return the environment in which programs of PostgreSQL connect to *address* as the service does.

    Raises:
        ToolError: they cannot.
        OSError: the password file cannot be read.
    """
    if address.tls_key_password is not None:
        raise ToolError("sslpassword in HEADRACE_DATABASE_URL: pg_dump takes a key without a password only")
    inherited = {
        name: value for name, value in os.environ.items() if name.startswith("PG") or name in ("PATH", "HOME")
    }
    password = read_password(address.password_file) if address.password_file else address.password
    ports = [str(port or "") for _, port in address.hosts]
    settings = {
        "PGHOST": ",".join(host for host, _ in address.hosts),
        "PGPORT": ",".join(ports) if any(ports) else None,
        "PGUSER": address.user,
        "PGPASSWORD": password,
        "PGDATABASE": address.database,
        "PGTARGETSESSIONATTRS": address.target,
        "PGCONNECT_TIMEOUT": f"{address.connect_seconds:.0f}" if address.connect_seconds else None,
        "PGOPTIONS": " ".join(_options(address.session)),
        "PGAPPNAME": "headrace",
    }
    driver = dict(parse_qsl(urlsplit(address.driver_url).query))
    settings |= {variable: driver.get(name) for name, variable in _VARIABLES.items()}
    return inherited | {"LC_ALL": "C"} | {name: value for name, value in settings.items() if value}


def _options(session: Mapping[str, str]) -> Iterator[str]:
    """Yield the parameters of a session as PGOPTIONS spells them. The programs set a path of their own."""
    for name, value in session.items():
        if name == "options":
            yield value
        elif name not in ("application_name", "search_path"):
            escaped = value.replace("\\", "\\\\").replace(" ", "\\ ")
            yield f"-c {name}={escaped}"


class RunningTool:
    """A program that runs: what it prints, and what it reads."""

    def __init__(self, tool: ClientTool, process: asyncio.subprocess.Process, errors: BinaryIO) -> None:
        if process.stdin is None or process.stdout is None:
            raise AssertionError
        self._tool = tool
        self._process = process
        self._input = process.stdin
        self._output = process.stdout
        self._errors = errors

    async def chunks(self, size: int) -> AsyncIterator[bytes]:
        """Yield what the program prints, until it has ended.

        Raises:
            ToolError: it has failed.
        """
        while chunk := await self._output.read(size):
            yield chunk
        await self._check_end()

    async def feed(self, chunks: Iterator[bytes]) -> None:
        """Give the program what it reads, and wait until it has ended.

        Raises:
            ToolError: it has failed.
        """
        try:
            for chunk in chunks:
                self._input.write(chunk)
                await self._input.drain()
            self._input.close()
            await self._input.wait_closed()
        except ConnectionError:
            pass  # it has ended, and says why
        await self._check_end()

    async def _check_end(self) -> None:
        status = await self._process.wait()
        if status:
            self._errors.seek(0)
            lines = self._errors.read(_MAX_ERROR_BYTES).decode(errors="replace").splitlines()
            reason = next((line for line in lines if "error:" in line), f"exit status {status}")
            raise ToolError(f"{self._tool.name} failed: {reason.partition('error: ')[2] or reason}")


@asynccontextmanager
async def running_tool(
    tool: ClientTool, arguments: list[str], environment: Mapping[str, str]
) -> AsyncIterator[RunningTool]:
    """Run a program for the block. It does not receive Ctrl-C, and has ended when the block has.

    Raises:
        ToolError: it cannot be run.
    """
    with tempfile.TemporaryFile() as errors:
        try:
            process = await asyncio.create_subprocess_exec(
                tool.path,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=dict(environment),
                start_new_session=True,
            )
        except OSError as error:
            raise ToolError(f"cannot run {tool.path}: {(error.strerror or str(error)).lower()}") from error
        try:
            yield RunningTool(tool, process, errors)
        finally:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            # What it still prints must be read, or it does not end.
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
