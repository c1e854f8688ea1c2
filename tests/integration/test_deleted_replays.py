"""Repeating a submission with its Idempotency-Key after its jobs were deleted."""

from typing import Any

import pytest

from headrace.adapters.database import StatementPool
from support.harness import Api
from support.shared_api import problem

KEY = {"Idempotency-Key": "order 1"}
NOOP = {"pipeline": "noop"}


async def post(api: Api, path: str, body: Any) -> Any:
    return await api.http.post(f"/api/v1/{path}", json=body, headers=KEY)


async def delete(api: Api, job_id: str) -> None:
    await api.http.post(f"/api/v1/jobs/{job_id}/cancel")
    assert (await api.http.delete(f"/api/v1/jobs/{job_id}")).status_code == 204


async def test_a_repeated_submission_of_a_deleted_job_is_gone(api: Api) -> None:
    job = (await post(api, "jobs", NOOP)).json()
    await delete(api, job["id"])

    again, third = await post(api, "jobs", NOOP), await post(api, "jobs", NOOP)

    for response in (again, third):
        assert job["id"] in problem(response, 410, "job_deleted")["detail"]
    problem(await post(api, "jobs", NOOP | {"priority": 9}), 409, "idempotency_conflict")
    assert (await api.http.get("/api/v1/jobs")).json()["total"] == 0


async def test_an_expired_key_of_a_deleted_job_submits_again(api: Api, database: StatementPool) -> None:
    job = (await post(api, "jobs", NOOP)).json()
    await delete(api, job["id"])
    await database.fetch("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")

    again = await post(api, "jobs", NOOP)

    assert again.status_code == 202
    assert again.json()["id"] != job["id"]


async def test_a_repeated_batch_is_gone_only_when_all_its_jobs_are_deleted(api: Api) -> None:
    batch = {"jobs": [NOOP, NOOP]}
    first = await post(api, "jobs/batch", batch)
    kept, other = first.json()["items"]

    await delete(api, other["id"])
    replayed = await post(api, "jobs/batch", batch)
    await delete(api, kept["id"])
    gone = await post(api, "jobs/batch", batch)

    assert (replayed.status_code, replayed.content) == (202, first.content)
    assert "2 jobs" in problem(gone, 410, "job_deleted")["detail"]


async def test_a_repeated_run_of_a_preset_whose_job_is_deleted_is_gone(api: Api) -> None:
    preset = await api.http.post("/api/v1/presets", json={"title": "one", "pipeline": "noop", "params": {}})
    path = f"presets/{preset.json()['id']}/jobs"
    job = (await post(api, path, None)).json()
    await delete(api, job["id"])

    assert job["id"] in problem(await post(api, path, None), 410, "job_deleted")["detail"]


@pytest.mark.parametrize(
    ("path", "operation"),
    [("/jobs", "submitJob"), ("/jobs/batch", "submitJobs"), ("/presets/{preset_id}/jobs", "submitPreset")],
)
async def test_the_contract_names_the_status(api: Api, path: str, operation: str) -> None:
    described = (await api.http.get("/openapi.json")).json()["paths"][f"/api/v1{path}"]["post"]

    assert described["operationId"] == operation
    assert "410" in described["responses"]
