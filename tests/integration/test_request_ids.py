"""A request id travels with the submitted job into the log of the worker that runs it."""

from structlog.testing import capture_logs

from headrace.adapters.database import StatementPool
from headrace.adapters.logs import add_running_job
from support.harness import Api


async def test_the_request_id_of_a_submission_is_in_the_workers_log(
    service: Api, database: StatementPool
) -> None:
    first_id, second_id = {"X-Request-Id": "from-me-1"}, {"X-Request-Id": "from-them-2"}
    flaky = {"pipeline": "flaky", "params": {"fail_times": 1}}

    with capture_logs(processors=[add_running_job]) as lines:
        job = (await service.http.post("/api/v1/jobs", json=flaky, headers=first_id)).json()
        batch = await service.http.post(
            "/api/v1/jobs/batch", json={"jobs": [{"pipeline": "noop"}] * 2}, headers=second_id
        )
        ids = [job["id"], *(item["id"] for item in batch.json()["items"])]
        ends = [(await service.finish(job_id))["state"] for job_id in ids]

    assert ends == ["succeeded"] * 3
    started = {line["job_id"]: line["request_id"] for line in lines if line["event"] == "job_started"}
    assert started == dict(zip(ids, ["from-me-1", "from-them-2", "from-them-2"], strict=True))
    (failed,) = [line for line in lines if line["event"] == "step_failed"]
    assert (failed["job_id"], failed["request_id"]) == (job["id"], "from-me-1")
    assert failed["attempt"] == 1
    rows = await database.fetch("SELECT id, request_id FROM jobs")
    assert {str(row["id"]): row["request_id"] for row in rows} == started


async def test_a_job_of_a_preset_stores_its_request_id(api: Api, database: StatementPool) -> None:
    body = {"title": "T", "pipeline": "noop", "params": {}}
    preset = (await api.http.post("/api/v1/presets", json=body)).json()

    await api.http.post(f"/api/v1/presets/{preset['id']}/jobs", headers={"X-Request-Id": "run-it"})
    created = await api.http.post("/api/v1/jobs", json={"pipeline": "noop"})

    rows = await database.fetch("SELECT request_id FROM jobs ORDER BY id")
    assert [row["request_id"] for row in rows] == ["run-it", created.headers["x-request-id"]]
