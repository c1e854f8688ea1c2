"""The last line of a worker's log counts the jobs that it finished and handed back while it stopped."""

from functools import partial
from pathlib import Path

import msgspec
from structlog.testing import capture_logs

from headrace.settings import Settings
from support.harness import Api, serving, working
from support.patience import until_async

FLOWS = Path(__file__).parent / "flows" / "stopping_flows.py"


async def has_begun(api: Api, job_id: str) -> bool:
    return "step.started" in [event["type"] for event in await api.events(job_id)]


async def test_a_stopped_worker_counts_what_it_finished_and_what_it_handed_back(settings: Settings) -> None:
    stopping = msgspec.structs.replace(settings, pipelines=(str(FLOWS),), grace_seconds=0)
    with capture_logs() as logs:
        async with serving(stopping) as api:
            async with working(stopping):
                submitted = [await api.submit(name) for name in ("ending", "lasting", "lasting")]
                for job in submitted:
                    await until_async(partial(has_begun, api, job["id"]))
            states = [(await api.job(job["id"]))["state"] for job in submitted]

    (stopped,) = [line for line in logs if line["event"] == "worker_stopped"]
    assert states == ["succeeded", "queued", "queued"]
    assert (stopped["finished"], stopped["handed_back"]) == (1, 2)


async def test_a_worker_without_jobs_counts_none(settings: Settings) -> None:
    with capture_logs() as logs:
        async with working(settings):
            pass

    (stopped,) = [line for line in logs if line["event"] == "worker_stopped"]
    assert (stopped["finished"], stopped["handed_back"]) == (0, 0)
