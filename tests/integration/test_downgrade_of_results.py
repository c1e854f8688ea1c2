"""A downgrade puts each large result into its job again, where the previous release reads it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from headrace.adapters.database import StatementPool
from headrace.adapters.migrations import AlembicCommands
from support.lease_driver import job_spec, submit

PREVIOUS = "0012"
SUCCEED = """
UPDATE jobs SET state = 'succeeded', finished_at = now(), result = CAST($2 AS text)::json, result_step = $3
WHERE id = $1
"""
STORE_OUTPUT = """
INSERT INTO step_runs (job_id, key, name, index, items, state, attempt, tries, output)
VALUES ($1, $2, 'part', $3, CAST($4 AS text)::json, 'succeeded', 1, 1, CAST($5 AS text)::json)
"""


def as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


@pytest.mark.parametrize(
    ("indexes", "result"),
    [
        ([None], "ü" * 100_000),
        ([0, 1, 2], ["ü" * 100_000, None, "üüü"]),
    ],
    ids=["a step's", "a list of a step's items"],
)
async def test_a_downgrade_puts_a_large_result_into_its_job(
    ready: StatementPool, database_url: str, indexes: list[int | None], result: Any
) -> None:
    large, small = await submit(ready, job_spec(), job_spec())
    await ready.fetch(SUCCEED, large, None, "part")
    await ready.fetch(SUCCEED, small, as_json("small"), None)
    if indexes == [None]:
        await ready.fetch(STORE_OUTPUT, large, "part", None, None, as_json(result))
    else:
        await ready.fetch(STORE_OUTPUT, large, "part", None, as_json(indexes), None)
        # The order of the rows is not that of the items.
        for index in reversed(range(len(indexes))):
            await ready.fetch(STORE_OUTPUT, large, f"part[{index}]", index, None, as_json(result[index]))

    with ThreadPoolExecutor(1) as thread:
        thread.submit(AlembicCommands(database_url).downgrade, PREVIOUS).result()

    rows = await ready.fetch("SELECT id, result::text AS result FROM jobs")
    results = {row["id"]: msgspec.json.decode(row["result"]) for row in rows}
    assert results == {large: result, small: "small"}
