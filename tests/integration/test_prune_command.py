"""`headrace prune` and `headrace retention`."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from headrace.adapters.database import StatementPool
from headrace.cli import prune as prune_module
from headrace.cli.main import cli
from headrace.cli.prune import PrunedElsewhereError, PruneFailedError
from headrace.settings import Settings
from support.harness import Api
from support.retention import add_jobs, add_pipeline

LONG_AGO = datetime.now(UTC) - timedelta(days=40)


async def run(settings: Settings, *arguments: str, **environment: str) -> Result:
    """Run the command in a thread, because it starts its own event loop."""
    runner = CliRunner(env={**settings.environment(), **environment})
    return await asyncio.to_thread(runner.invoke, cli, list(arguments), catch_exceptions=True)


async def count_jobs(database: StatementPool) -> int:
    return len(await database.fetch("SELECT FROM jobs"))


async def test_a_dry_run_counts_and_changes_nothing(database: StatementPool, settings: Settings) -> None:
    await add_pipeline(database)
    await add_jobs(database, LONG_AGO, 3)

    default = await run(settings, "prune", "--dry-run", "--json")
    longer = await run(settings, "prune", "--dry-run", "--json", HEADRACE_KEEP_SUCCEEDED="50d")
    shown = await run(settings, "prune", "--dry-run")

    assert msgspec.json.decode(default.stdout)["jobs"] == 3
    assert msgspec.json.decode(longer.stdout)["jobs"] == 0
    assert "         3  jobs\n" in shown.stdout
    assert shown.stdout.endswith("nothing was changed\n")
    assert await count_jobs(database) == 3


async def test_the_command_prunes(database: StatementPool, settings: Settings) -> None:
    await add_pipeline(database)
    await add_jobs(database, LONG_AGO, 3)
    await add_jobs(database, datetime.now(UTC), 2)

    result = await run(settings, "prune", "--json")

    removed: dict[str, Any] = msgspec.json.decode(result.stdout)
    assert removed["jobs"] == 3
    assert removed["idempotency_keys"] == 0
    assert await count_jobs(database) == 2


async def test_the_command_waits_while_a_worker_prunes(
    database: StatementPool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune_module, "_MAX_TRIES", 2)
    monkeypatch.setattr(prune_module, "_TRY_SECONDS", 0.01)
    await database.fetch(
        "INSERT INTO chores (name, position, succeeded_at) VALUES ('retention', 'other', now())"
    )

    result = await run(settings, "prune")

    assert isinstance(result.exception, PrunedElsewhereError)
    assert str(result.exception) == "a worker prunes already, and has a lot to do: try again later"


async def test_a_rule_that_fails_is_named(database: StatementPool, settings: Settings) -> None:
    await add_pipeline(database)
    await add_jobs(database, LONG_AGO)
    await database.fetch("ALTER TABLE login_sessions RENAME TO other_sessions")

    result = await run(settings, "prune")

    assert isinstance(result.exception, PruneFailedError)
    assert str(result.exception).startswith("not everything was pruned: login_sessions: relation ")
    assert await count_jobs(database) == 0


async def test_the_command_shows_everything_that_grows(api: Api, settings: Settings) -> None:
    await api.submit("noop")
    url = str(api.http.base_url)

    shown = await run(settings, "retention", "--url", url, COLUMNS="150")
    as_json = await run(settings, "retention", "--json", "--url", url)

    assert "succeeded jobs" in shown.stdout
    assert "until its worker ends" in shown.stdout
    assert msgspec.json.decode(as_json.stdout)["keeps_everything"] is False
