"""Checks for `headrace doctor`: which servers would run, on which files, and what is wrong."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace.adapters.file_lock import is_locked
from headrace.adapters.servers import postgres, redis
from headrace.adapters.servers.binaries import (
    PostgresBinaries,
    RedisBinaries,
    Search,
    nothing_found,
    search_postgres,
    search_redis,
)
from headrace.adapters.servers.folders import Home, lock_path
from headrace.adapters.servers.launch import Program, find_orphan, last_port
from headrace.adapters.servers.shared_folders import SHARED_ROOTS, shared_folder


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `headrace doctor` about *subject*. If it is not *ok*, the operator must act.

    *is_note*: the operator may act.
    """

    subject: str
    ok: bool
    text: str
    is_note: bool = False


def find_database_url(data_dir: Path) -> str | None:
    """Return the URL of the PostgreSQL that runs over *data_dir*, started by any launcher; else None."""
    home = Home(_home(data_dir, postgres.NAME), None)
    program = postgres.build_program(home)
    try:
        running = find_orphan(home, program.binary, program.argument, program.own_pid_file)
        port = last_port(home)
        return None if running is None or port is None else postgres.build_address(home, port)
    except OSError:
        return None


def has_database(data_dir: Path) -> bool:
    """Return whether a PostgreSQL of `headrace up` has its files in *data_dir*."""
    return postgres.read_major(postgres.cluster_folder(_home(data_dir, postgres.NAME))) is not None


def describe(data_dir: Path) -> list[Finding]:
    """Check the binaries and *data_dir*, without changing anything."""
    databases = search_postgres("any")
    brokers = search_redis("any")
    findings = _binaries("PostgreSQL", databases) + _binaries("Redis", brokers)
    for build_program, name in ((postgres.build_program, postgres.NAME), (redis.build_program, redis.NAME)):
        home = _home(data_dir, name)
        program = build_program(Home(home, None))
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
    if not search.usable:
        return [Finding(server, False, str(nothing_found(server, "any", search.problems)))]
    first, *others = search.usable
    lines = [f"{_name(first)} {first.version} ({first.kind}) in {first.folder} is used"]
    lines += [
        f"{_name(other)} {other.version} ({other.kind}) in {other.folder} is also installed"
        for other in others
    ]
    lines += [f"{problem}, so it is not used" for problem in search.problems]
    return [Finding(server, True, text) for text in lines]


def _name(binaries: PostgresBinaries | RedisBinaries) -> str:
    return binaries.name if isinstance(binaries, RedisBinaries) else "PostgreSQL"


def _home(data_dir: Path, name: str) -> Path:
    candidates = (shared_folder(root, data_dir.resolve()) / name for root in SHARED_ROOTS)
    return next((path for path in candidates if os.access(path, os.F_OK)), data_dir.resolve() / name)


def _files(server: Literal["PostgreSQL", "Redis"], home: Path) -> Finding:
    if not home.exists():
        return Finding(server, True, f"{home} is created at the first start")
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
    text = f"process {orphan.pid} is left over from a killed launcher: the next start takes it over"
    return [Finding(server, False, text)]


def _major(home: Path, search: Search[PostgresBinaries]) -> list[Finding]:
    major = postgres.read_major(postgres.cluster_folder(home))
    if major is None:
        return []
    compatible = next((binaries for binaries in search.usable if binaries.major == major), None)
    if compatible:
        return [
            Finding(
                "PostgreSQL",
                True,
                f"its files were made by PostgreSQL {major}; {compatible.version} can read them",
            )
        ]
    versions = ", ".join(binaries.version for binaries in search.usable) or "none"
    text = f"{home} was made by PostgreSQL {major} and only {versions} is found: install PostgreSQL {major}"
    return [Finding("PostgreSQL", False, text)]
