"""A user's pipelines from a file: graphs, files, failures, limits, resumption."""

import asyncio
import os
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import Api, serving, working
from support.patience import PATIENCE_SECONDS

FLOWS = Path(__file__).parent / "flows" / "sample_flows.py"


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return msgspec.structs.replace(module_settings, pipelines=(str(FLOWS),))


async def run(service: Api, pipeline: str, case: str = "", value: Any = None, **more: Any) -> dict[str, Any]:
    job = await service.submit(pipeline, params={"case": case, "value": value}, **more)
    done: dict[str, Any] = await service.finish(job["id"])
    return done


async def test_a_graph_with_items_files_and_parallel_branches_runs(service: Api) -> None:
    upload = await service.http.post("/api/v1/files", files={"file": ("in.txt", b"from outside")})
    params = {"names": ["ada", "bob"], "input_file": upload.json()["id"]}

    job = await service.submit("names", params=params)
    frames = await service.watch(job["id"])

    done = await service.job(job["id"])
    assert done["state"] == "succeeded", done["error"]
    assert [greeting["text"] for greeting in done["result"]["greetings"]] == [
        "hello ada, 2 in all",
        "hello bob, 2 in all",
    ]
    assert done["result"]["thread"].startswith("headrace-")
    content = await service.http.get(f"/api/v1/files/{done['result']['file']}/content")
    assert content.text.splitlines()[-1] == "from outside"
    created = [frame["file"]["name"] for frame in frames if frame["type"] == "file.created"]
    assert sorted(created) == ["ada.txt", "bob.txt", "summary.txt"]
    steps = (await service.http.get(f"/api/v1/jobs/{job['id']}/steps")).json()["items"]
    assert [(step["name"], step["index"], step["state"]) for step in steps] == [
        ("check", None, "succeeded"),
        ("greet", 0, "succeeded"),
        ("greet", 1, "succeeded"),
        ("shout", 0, "succeeded"),
        ("shout", 1, "succeeded"),
        ("summarise", None, "succeeded"),
    ]
    seqs = [frame["seq"] for frame in frames if "seq" in frame]
    assert seqs == list(range(1, len(seqs) + 1))


async def test_a_job_without_items_succeeds(service: Api) -> None:
    job = await service.submit("names", params={"names": []})

    done = await service.finish(job["id"])

    assert (done["state"], done["result"]["greetings"]) == ("succeeded", [])


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("permanent", "bad_input"),
        ("raises", "step_failed"),
        ("exits", "step_failed"),
        ("interrupts", "step_failed"),
        ("generator_exit", "step_failed"),
        ("cancels", "step_failed"),
        ("wordless", "step_failed"),
        ("plain_base", "step_failed"),
        ("surrogates", "step_failed"),
        ("numbered", "5"),
        ("group", "step_failed"),
        ("unserialisable", "output_invalid"),
        ("too_large", "output_too_large"),
        ("nul", "output_invalid"),
    ],
)
async def test_a_failed_step_reports_its_error_code(service: Api, case: str, code: str) -> None:
    done = await run(service, "cases", case)

    assert done["state"] == "failed"
    assert (done["error"]["code"], done["error"]["step"]) == (code, "misbehave")
    assert "Traceback" not in done["error"]["message"]


@pytest.mark.parametrize("pipeline", ["thread_leaver", "process_leaver"])
@pytest.mark.parametrize(
    "case", ["exits", "interrupts", "stops", "cancels", "wordless", "plain_base", "surrogates"]
)
async def test_exit_and_cancellation_errors_of_a_step_fail_only_its_job(
    service: Api, pipeline: str, case: str
) -> None:
    neighbour = await service.submit("ticks", params={"count": 5, "interval_ms": 20})

    done = await run(service, pipeline, case)

    assert (done["state"], done["error"]["code"]) == ("failed", "step_failed")
    assert (await service.finish(neighbour["id"]))["state"] == "succeeded"


@pytest.mark.parametrize("value", [None, 0, 1.5, "text", [], {"a": [1, {"b": None}]}, "\N{SNOWMAN}", 2**70])
async def test_a_result_is_returned_unchanged(service: Api, value: Any) -> None:
    done = await run(service, "cases", "echo", value)

    assert (done["state"], done["result"]) == ("succeeded", value)


@pytest.mark.parametrize("pipeline", ["slow", "slow_process", "slow_thread"])
async def test_step_timeouts_apply_in_loops_processes_and_threads(service: Api, pipeline: str) -> None:
    done = await run(service, pipeline)

    assert (done["state"], done["error"]["code"]) == ("failed", "step_timeout")


async def test_a_job_over_its_time_limit_fails(service: Api) -> None:
    job = await service.submit("ticks", params={"count": 1000, "interval_ms": 50}, timeout_seconds=0.5)

    done = await service.finish(job["id"])

    assert (done["state"], done["error"]["code"]) == ("failed", "job_timeout")


async def test_a_step_whose_process_exits_fails_the_job(service: Api) -> None:
    done = await run(service, "vanishing")

    assert (done["state"], done["error"]["code"]) == ("failed", "process_died")
    assert done["attempt"] <= 2


async def test_a_long_backoff_occupies_no_worker_slot(
    settings: Settings, database: StatementPool, tmp_path: Path
) -> None:
    flow = tmp_path / "patient.py"
    flow.write_text(
        "from headrace import Pipeline, RetryableError, StepContext, step\n"
        "from msgspec import Struct\n"
        "class P(Struct):\n    pass\n"
        "@step\n"
        "async def later(context: StepContext[P]) -> int:\n"
        "    if context.attempt == 1:\n        raise RetryableError('not yet', retry_after=600)\n"
        "    return context.attempt\n"
        "patient = Pipeline('patient', version=1, params=P)\n"
        "patient.add(later, result=True)\n"
    )
    patient = msgspec.structs.replace(settings, pipelines=(str(flow),))
    async with serving(patient) as api, working(patient, concurrency=1):
        waiting = await api.submit("patient")
        between = await api.submit("noop")

        await api.finish(between["id"])

        assert (await api.job(waiting["id"]))["waiting_for"] == "backoff"
        await database.fetch("UPDATE step_runs SET retry_at = now()")
        await database.fetch(
            "UPDATE jobs SET run_at = now(), due_order = now() - priority * interval '60 s'"
            " WHERE state = 'queued'"
        )
        done = await api.finish(waiting["id"])
        assert (done["state"], done["result"], done["attempt"]) == ("succeeded", 2, 2)


async def test_long_log_messages_are_clipped_and_excess_messages_counted(service: Api) -> None:
    long = await service.submit("cases", params={"case": "long_log"})
    await service.finish(long["id"])
    line = next(event for event in await service.events(long["id"]) if event["type"] == "log")
    assert len(line["message"].encode()) <= 8192

    many = await service.submit("cases", params={"case": "many_logs", "value": 10_020})
    done = await service.finish(many["id"])

    tail = await service.http.get(
        f"/api/v1/jobs/{many['id']}/events", params={"after": done["event_seq"] - 5, "limit": 1000}
    )
    lines = [event["message"] for event in tail.json()["items"] if event["type"] == "log"]
    assert lines[-1] == "20 more log messages were dropped"


async def test_a_second_attempt_runs_only_unfinished_steps(settings: Settings, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    params = {"ledger": str(ledger), "steps": 3, "hold_seconds": 600}
    quick = msgspec.structs.replace(settings, pipelines=(str(FLOWS),), grace_seconds=0.05)
    async with serving(quick) as api:
        async with working(quick):
            job = await api.submit("counting", params=params)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not (ledger.exists() and "hold" in ledger.read_text()):
                    await asyncio.sleep(0.01)

        async with working(quick):
            done = await api.finish(job["id"])

    assert (done["state"], done["result"], done["attempt"]) == ("succeeded", 3, 2)
    entered = ledger.read_text().split("\n")[:-1]
    assert sorted(entered) == ["first", "hold", "hold", "item 0", "item 1", "item 2"]


async def test_a_decimal_sent_as_a_number_reaches_the_step_unchanged(service: Api) -> None:
    job = await service.submit("order", params={"price": 0.1, "due": "2030-01-02T03:04:05Z"})

    done = await service.finish(job["id"])

    assert done["state"] == "succeeded", done["error"]
    assert done["result"] == {"total": "0.3", "due_year": 2030}


async def test_values_that_no_step_could_decode_are_refused_before_a_job_exists(service: Api) -> None:
    response = await service.http.post(
        "/api/v1/jobs", json={"pipeline": "order", "params": {"price": "abc", "due": "yesterday"}}
    )

    assert (response.status_code, response.json()["code"]) == (422, "params_invalid")
    assert sorted(response.json()["errors"], key=lambda fault: fault["path"]) == [
        {
            "path": "$.params.due",
            "message": '"yesterday" is not a date-time such as 2030-01-02T03:04:05Z',
        },
        {"path": "$.params.price", "message": '"abc" is not a decimal number such as 12.34'},
    ]
    total = (await service.http.get("/api/v1/jobs", params={"pipeline": "order"})).json()["total"]
    assert total == 0


async def test_params_that_no_longer_match_the_schema_fail_the_job(service: Api, database: Any) -> None:
    job = await service.submit("counting", params={"ledger": "x"}, run_at="2100-01-01T00:00:00Z")
    await database.fetch(
        "UPDATE jobs SET params = '{\"steps\": 1}', run_at = statement_timestamp(),"
        " due_order = statement_timestamp() - priority * interval '60 seconds'"
    )

    done = await service.finish(job["id"])

    assert (done["state"], done["error"]["code"]) == ("failed", "params_invalid")


async def test_odd_progress_and_log_values_do_not_affect_other_jobs(service: Api) -> None:
    neighbour = await service.submit("ticks", params={"count": 100, "interval_ms": 20})
    # The wait is longer than a heartbeat, which stores the progress.
    job = await service.submit("odd", params={"case": "", "value": 1.5})

    frames = await service.watch(job["id"])

    assert frames[-1] == {"type": "end", "state": "succeeded"}
    steps = await service.http.get(f"/api/v1/jobs/{job['id']}/steps")
    assert [step["state"] for step in steps.json()["items"]] == ["succeeded", "succeeded"]
    assert (await service.job(neighbour["id"]))["attempt"] == 1
    assert (await service.finish(neighbour["id"]))["state"] == "succeeded"


async def test_an_error_while_listing_items_fails_the_job(service: Api) -> None:
    job = await service.submit("itemless", params={"items": ""})

    done = await service.finish(job["id"])

    assert (done["state"], done["error"]["code"], done["error"]["step"]) == ("failed", "items_failed", "take")


@pytest.mark.parametrize("items", ["{", "1e400", "1" + "0" * 200_000, '"\\u0000"'])
async def test_raw_json_that_cannot_be_stored_fails_the_job(service: Api, items: str) -> None:
    job = await service.submit("rawish", params={"items": items.replace("\\u0000", "\\u" + "0000")})

    done = await service.finish(job["id"])

    assert done["state"] == "failed"
    assert done["error"]["code"] in ("output_invalid", "output_mismatch", "items_invalid")
    assert done["attempt"] == 1


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_no_step_starts_once_the_attempt_is_cancelled_or_has_failed(
    service: Api, tmp_path: Path, is_cancelled: bool
) -> None:
    mark = tmp_path / "mark"
    job = await service.submit("beside_items", params={"mark": str(mark), "fails": not is_cancelled})
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any(name.endswith(".items") for name in os.listdir(tmp_path)):  # noqa: PTH208
            await asyncio.sleep(0.02)
    if is_cancelled:
        (await service.http.post(f"/api/v1/jobs/{job['id']}/cancel")).raise_for_status()
        await service.finish(job["id"])
    mark.with_suffix(".go").touch()

    done = await service.finish(job["id"])

    assert done["state"] == ("cancelled" if is_cancelled else "failed")
    assert not mark.exists()
    assert "step.started" not in {event["type"] for event in await service.events(job["id"])}


async def test_a_late_watcher_gets_the_last_reported_progress(settings: Settings) -> None:
    quick = msgspec.structs.replace(settings, pipelines=(str(FLOWS),), lease_seconds=3.0)
    async with serving(quick) as service, working(quick):
        job = await service.submit("rarely", params={"case": ""})
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "step.started" not in {event["type"] for event in await service.events(job["id"])}:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)

        async with asyncio.timeout(PATIENCE_SECONDS), aclosing(service.frames(job["id"])) as frames:
            async for frame in frames:
                if frame["type"] == "progress":
                    break

        assert frame["fraction"] == 0.5
        await service.http.post(f"/api/v1/jobs/{job['id']}/cancel")
