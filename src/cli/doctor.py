"""The checks of `doctor`: Python, settings, servers, pipelines and the service. They change nothing."""

import asyncio
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

import httpx
import msgspec

from headrace.adapters.blob_store import probe_store
from headrace.adapters.data_folder import free_bytes
from headrace.adapters.servers import Finding, describe, find_database_url
from headrace.adapters.store_errors import StoreError
from headrace.adapters.tracing.tracing import TracingNotInstalledError, import_tracing
from headrace.cli.api_client import ApiClient
from headrace.cli.doctor_files import check_files
from headrace.cli.doctor_servers import check_database, check_redis
from headrace.cli.errors import BadUrlError
from headrace.cli.start_notice import is_starting
from headrace.domain.errors import HeadraceError
from headrace.domain.pipelines.bundled import (
    BUNDLED_MODULES,
    MissingExtraError,
    explain_missing,
    require_extras,
)
from headrace.domain.pipelines.loading import RENAME_ADVICE, Loaded, import_path, load_all
from headrace.settings import (
    Settings,
    SettingsError,
    explain_unknown_variables,
    read_data_dir,
    read_settings,
)

_OLDEST_PYTHON: Final = (3, 11)
_MIN_FREE_BYTES: Final = 500_000_000
_LOAD_SECONDS: Final = 60
_LOAD_IN_A_PROCESS: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; from headrace.domain.pipelines.loading import load_with_path;"
    " load_with_path(sys.argv[1], sys.argv[2:])"
)


def run_checks(
    data_dir: Path | None, url: str, token: str | None, *, compares_files: bool = False
) -> list[Finding]:
    """Run every check, also that of all files if *compares_files*; return its findings, good and bad."""
    findings = [*_check_python()]
    try:
        settings = read_settings()
        findings.append(Finding("settings", True, f"HEADRACE_ENV is {settings.env}; every value is valid"))
    except SettingsError as error:
        settings = Settings()
        findings.append(Finding("settings", False, str(error)))
    if settings.traces != "off":
        findings += _check_tracing()
    if (unknown := explain_unknown_variables(settings)) is not None:
        findings.append(Finding("settings", True, unknown, is_note=True))
    folder = (data_dir or settings.data_dir).expanduser().absolute()
    findings += _check_folder(folder)
    findings += _check_store(msgspec.structs.replace(settings, data_dir=folder).blob_dir)
    if not (settings.database_url and settings.redis_url):
        is_embedded = {"PostgreSQL": not settings.database_url, "Redis": not settings.redis_url}
        servers = sorted(describe(folder), key=lambda finding: finding.subject)
        findings += [finding for finding in servers if is_embedded[finding.subject]]
    if settings.database_url:
        findings += asyncio.run(check_database(settings))
    if settings.redis:
        findings += asyncio.run(check_redis(settings.redis))
    if compares_files:
        database_url = settings.database_url or find_database_url(folder)
        findings += asyncio.run(
            check_files(msgspec.structs.replace(settings, data_dir=folder, database_url=database_url))
        )
    findings += _check_pipelines(settings)
    return [*findings, *_check_service(url, token)]


def _check_python() -> Iterator[Finding]:
    ok = sys.version_info >= _OLDEST_PYTHON
    oldest = "" if ok else f"; Headrace needs {'.'.join(map(str, _OLDEST_PYTHON))}"
    yield Finding("Python", ok, f"{platform.python_version()} at {sys.executable}{oldest}")
    yield Finding("Headrace", True, version("headrace"))


def _check_tracing() -> Iterator[Finding]:
    try:
        import_tracing()
    except TracingNotInstalledError as error:
        yield Finding("settings", False, str(error))


def _check_folder(folder: Path) -> Iterator[Finding]:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Finding("data", False, f"{folder} cannot be written by this user")
        return
    try:
        probe_store(existing)
    except StoreError as error:
        yield Finding("data", False, f"{folder}: {error}")
        return
    free = free_bytes(existing)
    free_space = f"{free / 1e9:.1f} GB free"
    if free < _MIN_FREE_BYTES:
        yield Finding("data", False, f"{folder}: only {free_space}")
    else:
        note = "" if folder.exists() else " (created at the first start)"
        yield Finding("data", True, f"{folder}{note}, {free_space}")


def _check_store(folder: Path) -> Iterator[Finding]:
    """Check a store of files with a file system of its own."""
    if folder.exists():
        try:
            probe_store(folder)
        except StoreError as error:
            yield Finding("files", False, f"{folder}: {error}")


def _check_pipelines(settings: Settings) -> Iterator[Finding]:
    try:
        loaded = load_all(settings.pipelines, settings.bundled_pipelines)
    except HeadraceError as error:
        yield Finding("pipelines", False, str(error))
        return
    names = ", ".join(sorted({name for name, _ in loaded.pipelines})) or "none"
    yield Finding("pipelines", True, names)
    for failure in loaded.failures:
        yield Finding("pipelines", False, failure.summary)
    for sentence in loaded.empty:
        yield Finding("pipelines", False, sentence)
    for source in loaded.unnamed:
        yield Finding("pipelines", False, f"{source}: {RENAME_ADVICE}")
    if not loaded.failures:
        yield from _check_processes(loaded)
    try:
        require_extras(settings.bundled or ())
    except MissingExtraError as error:
        yield Finding("pipelines", False, str(error))
    for name in settings.bundled_pipelines:
        if name not in (settings.bundled or ()) and (note := explain_missing(name)) is not None:
            yield Finding("pipelines", True, note, is_note=True)


def _check_processes(loaded: Loaded) -> Iterator[Finding]:
    """Load each source of steps that run in processes in a new process, as a worker does."""
    for source in loaded.process_sources():
        if source in BUNDLED_MODULES:
            continue
        command = [sys.executable, "-P", "-c", _LOAD_IN_A_PROCESS, source, *import_path()]
        try:
            child = subprocess.run(  # noqa: S603  (our own command line)
                command, capture_output=True, text=True, timeout=_LOAD_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            yield Finding("pipelines", False, f"{source} does not load in a process within {_LOAD_SECONDS} s")
            continue
        if child.returncode:
            last_line = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
            yield Finding("pipelines", False, f"{source} does not load in a process: {last_line}")


def _check_service(url: str, token: str | None) -> Iterator[Finding]:
    """Check the service. Only a service that runs and is not ready is a fault."""
    try:
        api = ApiClient(url, token, waits=False)
    except BadUrlError as error:
        yield Finding("service", False, f"HEADRACE_URL: {error}")
        return
    try:
        answer = httpx.get(f"{api.url}/health/ready", timeout=5, trust_env=not api.is_local)
        health = answer.json()
        status, away = health["status"], health.get("degraded", [])
    except (httpx.HTTPError, httpx.InvalidURL):
        if api.is_local and is_starting(api.url, read_data_dir()):
            yield Finding("service", True, f"{url} is starting")
        else:
            yield Finding("service", True, f"none at {url}; start one with: headrace up")
    except (ValueError, KeyError, TypeError):
        yield Finding("service", False, f"the server at {url} is not Headrace")
    else:
        yield Finding("service", answer.status_code == 200 and not away, f"{url} is {status}{_lacking(away)}")


def _lacking(away: list[str]) -> str:
    """Return what a degraded service lacks, and which of its chores fail."""
    chores = [name.removeprefix("chore:") for name in away if name.startswith("chore:")]
    parts = [name for name in away if not name.startswith("chore:")]
    without = f" without {', '.join(parts)}" if parts else ""
    return without + (f"; these chores of its workers fail: {', '.join(chores)}" if chores else "")
