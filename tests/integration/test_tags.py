"""Tags: create, rename, count, delete."""

import asyncio
from typing import Any

import pytest

from support.harness import Api
from support.shared_api import counted, problem

URL = "/api/v1/tags"
UNKNOWN = "01a1fccd-6b98-76e1-8951-c578b7c6189f"


async def make(api: Api, name: str) -> dict[str, Any]:
    response = await api.http.post(URL, json={"name": name})
    assert response.status_code == 201, response.text
    tag: dict[str, Any] = response.json()
    return tag


async def test_concurrent_requests_create_a_tag_once(ada: Api) -> None:
    responses = await asyncio.gather(*(ada.http.post(URL, json={"name": "a"}) for _ in range(10)))

    assert sorted(response.status_code for response in responses) == [201] + [409] * 9
    refused = next(response for response in responses if response.status_code == 409)
    assert [fault["path"] for fault in problem(refused, 409, "tag_taken")["errors"]] == ["$.name"]
    created = next(response for response in responses if response.status_code == 201)
    assert (await ada.http.get(created.headers["location"])).json() == created.json()


async def test_a_renamed_tag_is_renamed_on_its_jobs(ada: Api) -> None:
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


async def test_invalid_tags_are_refused(ada: Api) -> None:
    tag = await make(ada, "good")
    bodies: list[dict[str, Any]] = [{}, {"name": ""}, {"name": "x" * 65}, {"name": " a"}]

    for body in [*bodies, {"name": "a", "b": 1}]:
        posted = await ada.http.post(URL, json=body)
        changed = await ada.http.patch(f"{URL}/{tag['id']}", json=body)

        assert (posted.status_code, changed.status_code) == (422, 422 if body else 200)
    assert (await ada.http.get(URL)).json()["items"] == [tag]


async def test_listing_tags_with_counts_takes_one_statement(ada: Api) -> None:
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


async def test_foreign_tags_are_hidden_and_tags_set_by_admins_belong_to_the_owner(
    ada: Api, bob: Api, root: Api
) -> None:
    tag = await make(ada, "mine")
    job = await ada.submit("noop")
    url = f"{URL}/{tag['id']}"

    for url_of_tag, caller in ((url, bob), (f"{URL}/{UNKNOWN}", ada)):
        for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("PATCH", {}), ("DELETE", None)):
            problem(await caller.http.request(method, url_of_tag, json=body), 404, "tag_not_found")
    marked = await root.http.patch(f"/api/v1/jobs/{job['id']}", json={"tags": ["seen"]})
    await make(bob, "mine")

    assert marked.json()["tags"] == ["seen"]
    of_ada = (await ada.http.get(URL)).json()["items"]
    assert [(item["name"], item["owner_id"]) for item in of_ada] == [
        ("mine", tag["owner_id"]),
        ("seen", tag["owner_id"]),
    ]
    assert (await root.http.get(url)).json() == tag


async def test_a_tag_deleted_during_a_submission_does_not_fail_it(
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

    response = await ada.http.post("/api/v1/jobs", json={"pipeline": "noop", "tags": ["gone", "there"]})

    assert response.status_code == 202, response.text
    assert (await ada.job(response.json()["id"]))["tags"] == ["there"]
