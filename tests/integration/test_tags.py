"""Tags: create, rename, count, delete."""

import asyncio
from typing import Any

import pytest

from support.harness import Api
from support.shared_api import counted, problem

URL = "/api/v1/tags"
UNKNOWN = "01a1fccd-6b98-76e1-8951-c578b7c6189f"


async def make(api: Api, name: str) -> dict[str, Any]:
    answer = await api.http.post(URL, json={"name": name})
    assert answer.status_code == 201, answer.text
    tag: dict[str, Any] = answer.json()
    return tag


async def test_a_tag_is_made_once_also_under_a_race(ada: Api) -> None:
    answers = await asyncio.gather(*(ada.http.post(URL, json={"name": "a"}) for _ in range(10)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert [fault["path"] for fault in problem(refused, 409, "tag_taken")["errors"]] == ["$.name"]
    created = next(answer for answer in answers if answer.status_code == 201)
    assert (await ada.http.get(created.headers["location"])).json() == created.json()


async def test_a_tag_is_renamed_where_it_marks_something(ada: Api) -> None:
    job = await ada.submit("noop", tags=["old", "other"])
    (tag,) = [item for item in (await ada.http.get(URL)).json()["items"] if item["name"] == "old"]
    url = f"{URL}/{tag['id']}"

    renamed = await ada.http.patch(url, json={"name": "new"})
    unchanged = await ada.http.patch(url, json={})
    taken = await ada.http.patch(url, json={"name": "other"})

    assert (renamed.json()["name"], renamed.json()["jobs"]) == ("new", 1)
    assert unchanged.json() == renamed.json()
    problem(taken, 409, "tag_taken")
    assert (await ada.job(job["id"]))["tags"] == ["new", "other"]
    assert (await ada.http.get("/api/v1/jobs?tag=old")).json()["total"] == 0


async def test_a_bad_tag_is_refused(ada: Api) -> None:
    tag = await make(ada, "good")
    bodies: list[dict[str, Any]] = [{}, {"name": ""}, {"name": "x" * 65}, {"name": " a"}]

    for body in [*bodies, {"name": "a", "b": 1}]:
        posted = await ada.http.post(URL, json=body)
        changed = await ada.http.patch(f"{URL}/{tag['id']}", json=body)

        assert (posted.status_code, changed.status_code) == (422, 422 if body else 200)
    assert (await ada.http.get(URL)).json()["items"] == [tag]


async def test_a_list_of_tags_with_its_counts_is_one_statement(ada: Api) -> None:
    for number in range(5):
        await ada.submit("noop", tags=["all", f"job {number}"])
    preset = {"title": "T", "pipeline": "noop", "params": {}, "tags": ["all", "preset"]}
    await ada.http.post("/api/v1/presets", json=preset)

    with counted(ada) as statements:
        page = (await ada.http.get(f"{URL}?limit=3&order_by=name")).json()
    down = (await ada.http.get(f"{URL}?limit=1&order_by=-name")).json()

    assert len(statements) == 1
    assert [(tag["name"], tag["jobs"], tag["presets"]) for tag in page["items"]] == [
        ("all", 5, 1),
        ("job 0", 1, 0),
        ("job 1", 1, 0),
    ]
    assert page["total"] == 7
    assert down["items"][0]["name"] == "preset"
    assert (await ada.http.get(f"{URL}?order_by=jobs")).status_code == 422


async def test_a_foreign_tag_is_none_and_an_admins_mark_is_the_owners_tag(
    ada: Api, bob: Api, root: Api
) -> None:
    tag = await make(ada, "mine")
    job = await ada.submit("noop")
    url = f"{URL}/{tag['id']}"

    for where, who in ((url, bob), (f"{URL}/{UNKNOWN}", ada)):
        for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("PATCH", {}), ("DELETE", None)):
            problem(await who.http.request(method, where, json=body), 404, "tag_not_found")
    marked = await root.http.patch(f"/api/v1/jobs/{job['id']}", json={"tags": ["seen"]})
    await make(bob, "mine")

    assert marked.json()["tags"] == ["seen"]
    of_ada = (await ada.http.get(URL)).json()["items"]
    assert [(item["name"], item["owner_id"]) for item in of_ada] == [
        ("mine", tag["owner_id"]),
        ("seen", tag["owner_id"]),
    ]
    assert (await root.http.get(url)).json() == tag


async def test_a_tag_that_goes_while_a_job_is_marked_with_it_is_no_fault(
    ada: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = await make(ada, "gone")
    repository = ada.app.state.services.submitter._repository
    find = repository.ensure_tags

    async def find_then_delete(owner_id: Any, names: set[str]) -> Any:
        tags = await find(owner_id, names)
        assert (await ada.http.delete(f"{URL}/{tag['id']}")).status_code == 204
        return tags

    monkeypatch.setattr(repository, "ensure_tags", find_then_delete)

    answer = await ada.http.post("/api/v1/jobs", json={"pipeline": "noop", "tags": ["gone", "there"]})

    assert answer.status_code == 202, answer.text
    assert (await ada.job(answer.json()["id"]))["tags"] == ["there"]
