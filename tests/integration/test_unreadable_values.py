"""Stored JSON that no parser reads, or reads slowly: its job is shown, listed and deleted as any other."""

import time
from typing import Any, Final

import pytest

from support.harness import Api
from support.shared_api import SharedApi

URL: Final = "/api/v1/jobs"
ODD: Final = ["1e400", '{"a":-1e999}', "1" * 5_000, '{\n"a": 1,\r\n"b": [1e400]}']

_STORE: Final = """
WITH ended AS (
    UPDATE jobs SET state = 'succeeded', finished_at = now(), event_seq = 2, result = $2::text::json
    WHERE id = $1::text::uuid
), run AS (
    INSERT INTO step_runs (job_id, key, name, state, attempt, tries, output)
    VALUES ($1::text::uuid, 'total', 'total', 'succeeded', 1, 1, $2::text::json)
)
INSERT INTO job_changes (job_id, seq, at, type, body)
VALUES ($1::text::uuid, 2, now(), 'job.succeeded', ('{"result":' || $2::text || '}')::json)
"""


async def submit(ada: Api, **fields: Any) -> str:
    response = await ada.http.post(URL, json={"pipeline": "ticks", **fields})
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


@pytest.mark.parametrize("value", ODD, ids=["huge", "negative", "digits", "lines"])
async def test_a_job_whose_result_cannot_be_read_is_shown_and_deleted(
    ada: Api, shared_api: SharedApi, value: str
) -> None:
    job_id = await submit(ada)
    await shared_api.database.fetch(_STORE, job_id, value)

    for path in (f"/{job_id}", f"/{job_id}/steps", f"/{job_id}/events", "", "?include=steps"):
        response = await ada.http.get(URL + path)
        assert (response.status_code, value in response.text) == (200, True), path
    query = {"query": "{ jobs(limit: 1) { result steps(limit: 9) { output } } }"}
    graph = await ada.http.post("/graphql", json=query)
    stream = await ada.http.get(f"{URL}/{job_id}/stream")
    deleted = await ada.http.delete(f"{URL}/{job_id}")

    assert graph.text.count(value) == 2, graph.text
    lines = stream.text.splitlines()
    assert stream.status_code == 200
    assert all(not line or line.startswith(("data: {", "id: ")) for line in lines)
    assert deleted.status_code == 204


async def test_jobs_with_many_dear_numbers_are_listed_at_once(ada: Api, shared_api: SharedApi) -> None:
    for _ in range(10):
        job_id = await submit(ada)
        dear = f'{{"a":[{",".join(["1e308"] * 40_000)}]}}'
        await shared_api.database.fetch(
            "UPDATE jobs SET params = $2::text::json, meta = $2::text::json WHERE id = $1::text::uuid",
            *(job_id, dear),
        )
    began = time.process_time()

    page = await ada.http.get(f"{URL}?limit=10")
    patched = await ada.http.patch(f"{URL}/{job_id}", json={"meta": {"b": 1}})

    assert (page.status_code, patched.status_code) == (200, 200)
    assert patched.text.count("1e308") == 80_000
    # A decoder that takes 60 microseconds for each number would need a minute.
    assert time.process_time() - began < 10


async def test_a_number_of_another_type_replaces_a_stored_one(ada: Api) -> None:
    job_id = await submit(ada, meta={"take": 1})

    whole = await ada.http.patch(f"{URL}/{job_id}", json={"meta": {"take": 1.0}})
    same = await ada.http.patch(f"{URL}/{job_id}", json={"meta": {"take": 1.0}})

    assert '"take":1.0' in whole.text
    assert same.text == whole.text
