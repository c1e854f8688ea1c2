"""Fixtures: a service that receives bad input, and checks of its log and its rows."""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fuzz.form import IS_FULL, SEED, costs, sent
from fuzz.loop_meter import SearchEnded
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import Api
from support.patience import PATIENCE_SECONDS
from support.users import Person, bearer, open_proxied

MIN_INPUTS_IN_FULL = 20_000
TABLES = ("jobs", "job_events", "files", "tags", "presets", "api_keys", "idempotency_keys", "audit_entries")
COUNTS = "SELECT " + ", ".join(f"(SELECT count(*) FROM {table}) AS {table}" for table in TABLES)  # noqa: S608


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Raise the time limit of the full form."""
    for item in items:
        if IS_FULL and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    """Let a search succeed that has found nothing in its time."""
    try:
        return (yield)
    except SearchEnded:
        return None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the full form if it sent too few inputs."""
    if IS_FULL and sent and not session.testsfailed and sum(sent.values()) < MIN_INPUTS_IN_FULL:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Report the number of inputs."""
    for seconds, name in costs:
        terminalreporter.write_line(f"the loop was held for up to {seconds * 1000:.1f} ms, by {name}")
    if sent:
        kinds = ", ".join(f"{kind} {number:,}" for kind, number in sorted(sent.items()))
        terminalreporter.write_line(
            f"bad inputs: {sum(sent.values()):,} ({kinds}); HEADRACE_FUZZ_SEED={SEED}"
        )


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with open_proxied(settings) as running:
        yield running


@pytest.fixture
async def keyed(api: Api) -> Api:
    """The same API, called with a key that has all scopes except that of admins."""
    api_key = await Person(api, "ada").key("jobs:read", "jobs:write", "files:*")
    api.http.headers.update(bearer(api_key["key"]))
    return api


@pytest.fixture
def no_logged_errors() -> Iterator[None]:
    """Assert that the log holds no error at the end of the test."""
    with capture_logs() as logs:
        yield
    assert [line for line in logs if line["log_level"] in ("error", "critical")] == []


async def rows(database: StatementPool) -> dict[str, int]:
    """Return the number of rows in each table that a request may write to."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        (row,) = await database.fetch(COUNTS)
    return {table: row[table] for table in TABLES}


@pytest.fixture
def fixed() -> dict[str, Any]:
    """Values that all examples of a test share."""
    return {}
