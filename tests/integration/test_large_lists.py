"""Lists leave out values that are large, and those that follow many others, and say so."""

from typing import Any, Final

import msgspec

from support.harness import Api
from support.shared_api import SharedApi

URL: Final = "/api/v1/jobs"
LARGE: Final = {"a": "x" * 70_000}
LONG: Final = {"a": "x" * 60_000}


async def submit(ada: Api, count: int, **fields: Any) -> list[str]:
    jobs = [{"pipeline": "ticks", "priority": place % 10, **fields} for place in range(count)]
    response = await ada.http.post(f"{URL}/batch", json={"jobs": jobs})
    assert response.status_code == 202, response.text
    return [job["id"] for job in response.json()["items"]]


async def listed(ada: Api, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await ada.http.get(f"{URL}?limit=100{query}")).json()["items"]
    return items


async def test_large_params_and_meta_are_left_out_and_the_job_has_them(ada: Api) -> None:
    (large,) = await submit(ada, 1, meta=LARGE)
    (small,) = await submit(ada, 1, meta={"a": 1})

    jobs = {job["id"]: job for job in await listed(ada)}
    whole = (await ada.http.get(f"{URL}/{large}")).json()

    assert (jobs[large]["meta"], jobs[large]["meta_omitted"]) == ({}, True)
    assert "params_omitted" not in jobs[large]
    assert (jobs[small]["meta"], "meta_omitted" in jobs[small]) == ({"a": 1}, False)
    assert (whole["meta"], "meta_omitted" in whole) == (LARGE, False)


async def test_a_list_has_eight_mebibytes_of_values_in_its_order(ada: Api, shared_api: SharedApi) -> None:
    ids = await submit(ada, 100, meta={"a": 1})
    text = msgspec.json.encode(LONG).decode()
    await shared_api.database.fetch(
        "UPDATE jobs SET params = $2::text::json, meta = $2::text::json WHERE id = ANY($1::uuid[])", ids, text
    )

    for order in ("&order_by=-created_at", "&order_by=priority"):
        jobs = await listed(ada, order)

        shown = [job["params"] == job["meta"] == LONG for job in jobs]
        assert shown == [True] * shown.count(True) + [False] * shown.count(False)
        assert 60 < shown.count(True) < 70
        assert all("params_omitted" in job and "meta_omitted" in job for job in jobs[70:])
        assert len(jobs) == 100
    assert (await listed(ada, "&offset=90"))[0]["meta"] == LONG


async def test_lists_of_presets_and_of_files_leave_out_large_values(ada: Api, shared_api: SharedApi) -> None:
    body = {"title": "Large", "pipeline": "noop", "params": {}}
    preset = (await ada.http.post("/api/v1/presets", json=body)).json()
    file = (await ada.http.post("/api/v1/files", files={"file": ("a", b"a")})).json()
    text = msgspec.json.encode(LARGE).decode()
    await shared_api.database.fetch(
        "UPDATE presets SET params = $2::text::json WHERE id = $1::text::uuid", preset["id"], text
    )
    patched = await ada.http.patch(f"/api/v1/files/{file['id']}", json={"meta": LARGE})

    (preset_listed,) = (await ada.http.get("/api/v1/presets")).json()["items"]
    (file_listed,) = (await ada.http.get("/api/v1/files")).json()["items"]

    assert (preset_listed["params"], preset_listed["params_omitted"]) == ({}, True)
    assert (await ada.http.get(f"/api/v1/presets/{preset['id']}")).json()["params"] == LARGE
    assert (file_listed["meta"], file_listed["meta_omitted"]) == ({}, True)
    assert (patched.json()["meta"], "meta_omitted" in patched.json()) == (LARGE, False)


async def test_outputs_of_a_list_are_bounded_together(ada: Api, shared_api: SharedApi) -> None:
    ids = await submit(ada, 3)
    text = msgspec.json.encode(LONG).decode()
    await shared_api.database.fetch(
        "INSERT INTO step_runs (job_id, key, name, state, attempt, tries, output)"
        " SELECT id, 'total', 'total', 'succeeded', 1, 1, NULL FROM unnest($1::uuid[]) AS id",
        ids,
    )
    await shared_api.database.fetch(
        "INSERT INTO step_runs (job_id, key, name, index, state, attempt, tries, output)"
        " SELECT id, 'tick[' || n || ']', 'tick', n, 'succeeded', 1, 1, $2::text::json"
        " FROM unnest($1::uuid[]) AS id, generate_series(0, 59) AS n",
        *(ids, text),
    )

    steps = [step for job in await listed(ada, "&include=steps") for step in job["steps"]]

    assert 130 < sum(step["output"] == LONG for step in steps) < 145
    assert sum(step.get("output_omitted", False) for step in steps) == 180 - sum(
        step["output"] == LONG for step in steps
    )
