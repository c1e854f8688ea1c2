"""Values stay what they were, through every kind of step and two attempts; together they have limits."""

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import Api

FLOWS = Path(__file__).parent / "flows" / "value_flows.py"


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return msgspec.structs.replace(module_settings, pipelines=(str(FLOWS),))


PLAIN: list[Any] = [
    *(None, True, False, 0, -1, 2**63, 2**64, -(2**70), 10**30),
    *(-0.0, 1.0, 1e22, 1e-7, 5e-324, 1.7976931348623157e308, 0.1 + 0.2),
    *("", "text", "\u2028 \u00fc \U0001f3b8", '"\\/', "\x7f\n", "1e5"),
]
NAMES = ["z", "a", "\u00e9", "", "m", "0"]


def any_value(source: random.Random, depth: int = 0) -> Any:
    """Return a random value that JSON has."""
    kind = source.random()
    if depth < 4 and kind < 0.2:
        return [any_value(source, depth + 1) for _ in range(source.randrange(4))]
    if depth < 4 and kind < 0.4:
        names = source.sample(NAMES, source.randrange(len(NAMES)))
        return {name: any_value(source, depth + 1) for name in names}
    return source.choice([*PLAIN, source.uniform(-1e9, 1e9), source.getrandbits(90)])


def as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def test_values_are_the_same_bytes_in_every_step_and_attempt(
    service: Api, database: StatementPool
) -> None:
    source = random.Random(14)  # noqa: S311  (no secret)
    values = [any_value(source) for _ in range(40)]
    meta = {"z": 1e22, "a": {"c": -0.0, "b": [10**30]}}
    job = await service.submit("values", params={"values": values}, meta=meta)
    done = await service.finish(job["id"])
    shown = (await service.http.get(f"/api/v1/jobs/{job['id']}")).text
    (row,) = await database.fetch(
        "SELECT params::text, meta::text, result::text, attempt FROM jobs WHERE id = $1", job["id"]
    )

    assert (done["state"], row["attempt"]) == ("succeeded", 2), done["error"]
    expected = as_json(values)
    assert row["params"] == f'{{"values":{expected}}}'
    assert row["meta"] == as_json(meta)
    names = ("loop", "thread", "process", "each", "each_apart")
    assert row["result"] == "{" + ",".join(f'"{name}":{expected}' for name in names) + "}"
    assert row["params"] in shown
    assert row["meta"] in shown
    assert row["result"] in shown


@pytest.mark.parametrize(
    ("pipeline", "code", "message"),
    [
        ("many_large", "outputs_too_large", "the outputs of a job have at most 16777216 bytes as JSON"),
        ("large_result", "result_too_large", "the result of a job has at most 1048576 bytes as JSON"),
        ("large_items", "items_too_large", "the first 42 items of step 'each' have 4200128 bytes as JSON"),
        ("mistake", "output_mismatch", "the output of step 'mistaken' is not what its annotation says"),
    ],
)
async def test_a_job_fails_at_once_with_values_that_cannot_be_kept(
    service: Api, pipeline: str, code: str, message: str
) -> None:
    job = await service.finish((await service.submit(pipeline, params={"values": []}))["id"])

    assert (job["state"], job["error"]["code"], job["attempt"]) == ("failed", code, 1)
    assert job["error"]["message"].startswith(message)


@pytest.mark.parametrize(("pipeline", "count"), [("talkative", 10_000), ("talkative_apart", 3_000)])
async def test_many_log_lines_are_gathered_in_order_and_none_is_lost(
    service: Api, database: StatementPool, pipeline: str, count: int
) -> None:
    job = await service.submit(pipeline, params={"values": []}, max_attempts=1)
    await service.finish(job["id"])
    lines = await database.fetch(
        "SELECT body->>'message' AS message FROM job_events WHERE job_id = $1 AND type = 'log' ORDER BY seq",
        job["id"],
    )
    (commits,) = await database.fetch(
        "SELECT count(DISTINCT at) AS count FROM job_events WHERE job_id = $1", job["id"]
    )

    assert [row["message"] for row in lines] == [f"line {number}" for number in range(count)]
    assert commits["count"] < count / 10


@pytest.mark.parametrize("lengths", [[100_000], [40_000, None, 3], [10], []])
async def test_a_large_result_is_stored_once_and_read_everywhere(
    service: Api, database: StatementPool, lengths: list[int | None]
) -> None:
    """The result is the list of the outputs of a step that is not the last one."""
    job_id = (await service.submit("parts_result", params={"values": lengths}))["id"]
    await service.finish(job_id)
    expected = [None if length is None else "ü" * length for length in lengths]
    is_large = len(msgspec.json.encode(expected)) > 65_536

    (row,) = await database.fetch("SELECT result::text, result_step FROM jobs WHERE id = $1", job_id)
    job = await service.job(job_id)
    patched = (await service.http.patch(f"/api/v1/jobs/{job_id}", json={"meta": {"a": 1}})).json()
    hello, *_ = await service.watch(job_id)
    query = {"query": f'{{ job(id: "{job_id}") {{ result }} jobs {{ result }} }}'}
    graph = (await service.http.post("/graphql", json=query)).json()
    (listed,) = (await service.http.get("/api/v1/jobs")).json()["items"]

    assert row["result_step"] == ("part" if is_large else None)
    assert (row["result"] is None) == is_large
    assert job["result"] == patched["result"] == expected
    assert [frame["job"]["result"] for frame in (hello,) if frame["type"] == "hello"] == [expected]
    assert graph == {"data": {"job": {"result": expected}, "jobs": [{"result": expected}]}}
    assert (listed["result"], "result_omitted" in listed) == (None if is_large else expected, is_large)


async def test_outputs_beside_the_one_that_is_too_large_are_not_reported(
    service: Api, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = (await service.submit("large_result", params={"values": []}))["id"]
    job = await service.finish(job_id)
    failed = [event for event in await service.events(job_id) if event["type"] == "step.failed"]

    assert job["error"]["code"] == "result_too_large"
    assert len(failed) == 1
    assert caplog.text.count("step_failed") == 1
    assert "Traceback" not in caplog.text


async def test_a_large_result_is_sent_with_its_job_only(service: Api) -> None:
    small = await service.submit("noop")
    job = await service.submit("sizable_result", params={"values": []})
    frames = await service.watch(job["id"])
    await service.finish(small["id"])
    listed = {item["id"]: item for item in (await service.http.get("/api/v1/jobs")).json()["items"]}

    with_steps = (await service.http.get("/api/v1/jobs", params={"include": "steps"})).json()["items"]
    steps = {item["id"]: item["steps"] for item in with_steps}
    (succeeded,) = [frame for frame in frames if frame["type"] == "job.succeeded"]
    ((large,), (short,)) = steps[job["id"]], steps[small["id"]]
    assert (large["output"], large["output_omitted"]) == (None, True)
    assert "output_omitted" not in short
    (alone,) = (await service.http.get(f"/api/v1/jobs/{job['id']}?include=steps")).json()["steps"]
    (listed_step,) = (await service.http.get(f"/api/v1/jobs/{job['id']}/steps")).json()["items"]
    assert len(alone["output"]) == len(listed_step["output"]) == 100_000
    assert (succeeded["result"], succeeded["result_omitted"]) == (None, True)
    assert (listed[job["id"]]["result"], listed[job["id"]]["result_omitted"]) == (None, True)
    assert "result_omitted" not in listed[small["id"]]
    whole = await service.job(job["id"])
    assert (len(whole["result"]), "result_omitted" in whole) == (100_000, False)
