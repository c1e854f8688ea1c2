"""Pages of a long list: each row once, the total count, reliable ids and timestamps."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest

from support.harness import Api

URL = "/api/v1/jobs"
MANY = 1_000


@pytest.mark.parametrize("order_by", ["-created_at", "-priority", "run_at"])
async def test_a_thousand_simultaneous_jobs_each_appear_on_exactly_one_page(ada: Api, order_by: str) -> None:
    batch = [{"pipeline": "noop"}] * MANY
    created = (await ada.http.post(f"{URL}/batch", json={"jobs": batch})).json()["items"]

    pages = [
        (await ada.http.get(f"{URL}?limit=130&order_by={order_by}&offset={offset}")).json()
        for offset in range(0, MANY + 130, 130)
    ]

    assert len({(job["created_at"], job["run_at"], job["priority"]) for job in created}) == 1
    ids = sorted((job["id"] for job in created), reverse=order_by.startswith("-"))
    assert [job["id"] for page in pages for job in page["items"]] == ids
    assert len(set(ids)) == MANY
    assert {page["total"] for page in pages} == {MANY}
    assert [len(page["items"]) for page in pages] == [130] * 7 + [90, 0]


async def test_the_default_page_size_is_a_hundred(ada: Api) -> None:
    await ada.http.post(f"{URL}/batch", json={"jobs": [{"pipeline": "noop"}] * 101})

    page = (await ada.http.get(URL)).json()

    assert (len(page["items"]), page["limit"], page["offset"], page["total"]) == (100, 100, 0, 101)


async def test_ids_sort_by_creation_and_times_have_an_offset(ada: Api) -> None:
    preset = {"title": "T", "pipeline": "noop", "params": {}}
    created = [
        await ada.submit("noop"),
        (await ada.http.post("/api/v1/files", files={"file": b"x"})).json(),
        (await ada.http.post("/api/v1/presets", json=preset)).json(),
        (await ada.http.post("/api/v1/tags", json={"name": "t"})).json(),
        await ada.submit("noop"),
    ]

    ids = [UUID(item["id"]) for item in created]
    times = [datetime.fromisoformat(item["created_at"]) for item in created]
    assert (ids, times) == (sorted(ids), sorted(times))
    assert {object_id.version for object_id in ids} == {7}
    assert {time.utcoffset() for time in times} == {timedelta(0)}
