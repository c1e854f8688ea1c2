"""Steps that misbehave: the job reports why it failed, and the worker keeps working."""

import errno
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.adapters.servers.processes import Process
from headrace.settings import Settings
from support.harness import Api
from support.patience import until

FLOWS = Path(__file__).parent / "flows" / "hostile_flows.py"


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return msgspec.structs.replace(module_settings, pipelines=(str(FLOWS),))


async def run(service: Api, pipeline: str, case: str = "") -> dict[str, Any]:
    job = await service.submit(pipeline, params={"case": case})
    done: dict[str, Any] = await service.finish(job["id"])
    return done


async def test_a_dead_child_process_is_noticed_while_its_fork_is_alive(service: Api, tmp_path: Path) -> None:
    note = tmp_path / "fork"

    done = await run(service, "forking", str(note))

    # Its fork would have lived for longer than the test waits: the keeper of the step has killed it.
    fork = int(note.read_text())
    await until(lambda: Process.from_pid(fork) is None)
    assert (done["state"], done["error"]["code"]) == ("failed", "process_died")
    assert "status 9" in done["error"]["message"]


@pytest.mark.parametrize("case", ["closed", "replaced"])
async def test_a_step_that_closes_its_output_streams_succeeds(service: Api, case: str) -> None:
    done = await run(service, "closing", case)

    assert (done["state"], done["result"]) == ("succeeded", "said")


@pytest.mark.parametrize(("case", "code"), [("surrogates", "step_failed"), ("numbered", "5")])
async def test_odd_errors_of_a_child_process_are_reported(service: Api, case: str, code: str) -> None:
    done = await run(service, "raising", case)

    assert (done["state"], done["error"]["code"]) == ("failed", code)


@pytest.mark.parametrize("pipeline", ["saving_loop", "saving_process"])
async def test_save_file_accepts_bytes_like_content_and_refuses_a_number(service: Api, pipeline: str) -> None:
    for case in ("bytearray", "memoryview"):
        done = await run(service, pipeline, case)
        assert done["state"] == "succeeded", done["error"]
        content = await service.http.get(f"/api/v1/files/{done['result']}/content")
        assert content.content == b"abc"

    refused = await run(service, pipeline, "number")

    assert refused["error"]["code"] == "step_failed"
    assert refused["error"]["message"] == "TypeError: a file is bytes or a path, not int"


@pytest.mark.parametrize("pipeline", ["handling_loop", "handling_process"])
async def test_a_step_can_handle_an_error_of_the_store_wherever_it_runs(service: Api, pipeline: str) -> None:
    done = await run(service, pipeline)

    assert (done["state"], done["result"]) == ("succeeded", errno.EISDIR), done["error"]


async def test_a_log_message_with_odd_fields_is_stored(service: Api) -> None:
    done = await run(service, "logging_oddly")

    assert done["state"] == "succeeded", done["error"]
    (line,) = [event for event in await service.events(done["id"]) if event["type"] == "log"]
    assert (line["level"], set(line["fields"])) == ("info", {"huge", "deep"})


@pytest.mark.parametrize("case", ["plain_base", "exits", "cancels"])
async def test_errors_while_listing_items_fail_only_their_job(service: Api, case: str) -> None:
    neighbour = await service.submit("ticks", params={"count": 5, "interval_ms": 20})

    done = await run(service, "odd_itemed", case)

    assert (done["state"], done["error"]["code"]) == ("failed", "items_failed")
    assert (await service.finish(neighbour["id"]))["state"] == "succeeded"


async def test_listing_items_slowly_does_not_delay_other_jobs(service: Api, tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow = await service.submit("odd_itemed", params={"case": str(go)})
    quick = await service.submit("noop")

    await service.finish(quick["id"])

    assert (await service.job(slow["id"]))["state"] in ("queued", "running")
    go.touch()
    assert (await service.finish(slow["id"]))["result"] == ["late"]
