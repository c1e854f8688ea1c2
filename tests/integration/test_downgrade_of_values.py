"""A downgrade names a value that the previous release cannot store, and changes nothing."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from alembic.util import CommandError

from headrace.adapters.database import StatementPool
from headrace.adapters.migrations import AlembicCommands
from headrace.adapters.revisions import newest_revision
from support.harness import Api

PREVIOUS = "0006"
REFUSED = [r'{"a":"\u0000"}', r'{"a":"\ud800"}', '{"a":1e131073}']


def run_in_thread(call: Any, *arguments: Any) -> Any:
    """Run in a thread without an event loop, because Alembic starts its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call, *arguments).result()


@pytest.mark.parametrize("value", REFUSED)
async def test_a_downgrade_names_the_row_with_a_value_that_jsonb_refuses(
    api: Api, database: StatementPool, database_url: str, value: str
) -> None:
    job = await api.submit("noop")
    await database.fetch("UPDATE jobs SET meta = $1::text::json", value)

    with pytest.raises(CommandError, match=f"the meta of jobs {job['id']} has .* JSONB cannot store"):
        run_in_thread(AlembicCommands(database_url).downgrade, PREVIOUS)

    (row,) = await database.fetch("SELECT meta::text, version_num FROM jobs, alembic_version")
    assert (row["meta"], row["version_num"]) == (value, newest_revision())


async def test_a_downgrade_names_the_step_with_a_value_that_jsonb_refuses(
    api: Api, database: StatementPool, database_url: str
) -> None:
    job = await api.submit("noop")
    await database.fetch(
        "INSERT INTO step_runs (job_id, key, name, state, attempt, tries, output)"
        " VALUES ($1, 'tick[3]', 'tick', 'succeeded', 1, 1, $2::text::json)",
        job["id"],
        REFUSED[0],
    )

    with pytest.raises(CommandError, match=rf"the output of step_runs {job['id']} tick\[3\] has"):
        run_in_thread(AlembicCommands(database_url).downgrade, PREVIOUS)
