"""What `headrace doctor` says about the servers: which would run, over which files, and what is wrong."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace.adapters.servers import postgres, redis
from headrace.adapters.servers.binaries import (
    PostgresBinaries,
    RedisBinaries,
    Search,
    nothing_found,
    search_postgres,
    search_redis,
)
from headrace.adapters.servers.folders import SHARED_ROOTS, Home, is_locked, lock_path, shared_folder
from headrace.adapters.servers.launch import Program, find_orphan


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `headrace doctor` about *subject*. If it is not *ok*, the operator has to act."""

    subject: str
    ok: bool
    text: str


def describe(data_dir: Path) -> list[Finding]:
    """Look at the binaries and at *data_dir*, changing nothing."""
    databases = search_postgres("any")
    brokers = search_redis("any")
    findings = _binaries("PostgreSQL", databases) + _binaries("Redis", brokers)
    for program_of, name in ((postgres.program_of, postgres.NAME), (redis.program_of, redis.NAME)):
        home = _home(data_dir, name)
        program = program_of(Home(home, None))
        server: Literal["PostgreSQL", "Redis"] = "PostgreSQL" if name == postgres.NAME else "Redis"
        try:
            findings.append(_files(server, home))
            findings.extend(_process(server, data_dir, name, program))
            if server == "PostgreSQL":
                findings.extend(_major(home, databases))
        except OSError as error:
            findings.append(
                Finding(server, False, f"{home} cannot be read: {(error.strerror or '').lower()}")
            )
    return findings


def _binaries(
    server: Literal["PostgreSQL", "Redis"], search: Search[PostgresBinaries] | Search[RedisBinaries]
) -> list[Finding]:
    if not search.found:
        return [Finding(server, False, str(nothing_found(server, "any", search.problems)))]
    first, *others = search.found
    found = [f"{_name(first)} {first.version} ({first.kind}) in {first.folder} is used"]
    found += [
        f"{_name(other)} {other.version} ({other.kind}) in {other.folder} is there too" for other in others
    ]
    found += [f"{problem}, so it is not used" for problem in search.problems]
    return [Finding(server, True, text) for text in found]


def _name(binaries: PostgresBinaries | RedisBinaries) -> str:
    return binaries.name if isinstance(binaries, RedisBinaries) else "PostgreSQL"


def _home(data_dir: Path, name: str) -> Path:
    moved = (shared_folder(root, data_dir.resolve()) / name for root in SHARED_ROOTS)
    return next((path for path in moved if os.access(path, os.F_OK)), data_dir.resolve() / name)


def _files(server: Literal["PostgreSQL", "Redis"], home: Path) -> Finding:
    if not home.exists():
        return Finding(server, True, f"{home} is made at the first start")
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return Finding(server, False, f"{home} cannot be read and written by this user")
    return Finding(server, True, f"its files are in {home}")


def _process(
    server: Literal["PostgreSQL", "Redis"], data_dir: Path, name: str, program: Program
) -> list[Finding]:
    orphan = find_orphan(program.home, program.binary, program.argument, program.own_pid_file)
    if orphan is None:
        return []
    if is_locked(lock_path(data_dir, name)):
        return [Finding(server, True, f"it runs as process {orphan.pid}")]
    text = f"process {orphan.pid} was left by a killed launcher: the next start takes it over"
    return [Finding(server, False, text)]


def _major(home: Path, search: Search[PostgresBinaries]) -> list[Finding]:
    made_by = postgres.major_of(postgres.cluster_of(home))
    if made_by is None:
        return []
    fitting = next((binaries for binaries in search.found if binaries.major == made_by), None)
    if fitting:
        return [
            Finding(
                "PostgreSQL", True, f"its files were made by PostgreSQL {made_by}; {fitting.version} fits"
            )
        ]
    versions = ", ".join(binaries.version for binaries in search.found) or "none"
    text = (
        f"{home} was made by PostgreSQL {made_by} and only {versions} is found: install PostgreSQL {made_by}"
    )
    return [Finding("PostgreSQL", False, text)]
