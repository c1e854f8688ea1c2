"""Presets: create, list, replace, change, run and delete."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker

from headrace.domain.accounts.reach import Reach
from headrace.domain.json_limits import MAX_JSON_BYTES
from headrace.domain.presets.errors import PresetTitleTakenError
from headrace.domain.presets.filters import PresetChanges
from headrace.domain.presets.models import Preset
from headrace.domain.presets.service import PresetService
from support.harness import Api
from support.shared_api import SharedApi, problem

URL = "/api/v1/presets"
UNKNOWN = "01a1fccd-6b98-76e1-8951-c578b7c6189f"
TICKS = {"title": "Slow", "pipeline": "ticks", "params": {"count": 3}}


async def save(api: Api, **more: Any) -> dict[str, Any]:
    response = await api.http.post(URL, json=TICKS | more)
    assert response.status_code == 201, response.text
    preset: dict[str, Any] = response.json()
    return preset


async def test_a_created_preset_is_returned_at_its_location(ada: Api) -> None:
    response = await ada.http.post(URL, json=TICKS | {"description": "Three", "tags": ["b", "a", "b"]})

    assert response.status_code == 201, response.text
    preset = response.json()
    assert {name: preset[name] for name in ("title", "description", "pipeline", "params", "tags")} == {
        "title": "Slow",
        "description": "Three",
        "pipeline": "ticks",
        "params": {"count": 3},
        "tags": ["a", "b"],
    }
    assert preset["created_at"] == preset["updated_at"]
    assert (await ada.http.get(response.headers["location"])).json() == preset


INVALID_PRESETS: list[tuple[Any, list[str]]] = [
    ({"pipeline": "noop", "params": {}}, ["$"]),
    ({"title": "T", "params": {}}, ["$"]),
    ({"title": "T", "pipeline": "noop"}, ["$"]),
    ({"title": "", "pipeline": "noop", "params": {}}, ["$.title"]),
    ({"title": " ", "pipeline": "noop", "params": {}}, ["$.title"]),
    ({"title": "x" * 201, "pipeline": "noop", "params": {}}, ["$.title"]),
    ({"title": None, "pipeline": "noop", "params": {}}, ["$.title"]),
    ({"title": "T", "description": "x" * 1001, "pipeline": "noop", "params": {}}, ["$.description"]),
    ({"title": "T", "pipeline": "noop", "params": {}, "colour": 1}, ["$.colour"]),
    ({"title": "T", "pipeline": "nowhere", "params": {}}, ["$.pipeline"]),
    ({"title": "T", "pipeline": "ticks", "params": {"count": 0, "x": 1}}, ["$.params.count", "$.params.x"]),
    (
        {"title": "T", "pipeline": "shootout", "params": {"chains": [{"name": "A", "blocks": [{}]}]}},
        ["$.params.chains[0].blocks[0]"],
    ),
]


async def test_invalid_presets_are_refused_with_the_paths_of_their_errors(ada: Api) -> None:
    preset = await save(ada)

    for body, paths in INVALID_PRESETS:
        posted = await ada.http.post(URL, json=body)
        replaced = await ada.http.put(f"{URL}/{preset['id']}", json=body)

        for response in (posted, replaced):
            assert response.status_code == 422, response.text
            assert sorted(fault["path"] for fault in response.json()["errors"]) == paths
    assert (await ada.http.get(URL)).json()["items"] == [preset]


async def test_titles_and_descriptions_at_their_limits_are_accepted(ada: Api) -> None:
    for title, description in (("x", ""), ("x" * 200, "y" * 1000), ("\N{GUITAR}" * 200, "\N{GUITAR}" * 1000)):
        preset = await save(ada, title=title, description=description)

        assert (preset["title"], preset["description"]) == (title, description)
        assert (await ada.http.get(f"{URL}/{preset['id']}")).json() == preset


async def test_extreme_numbers_in_params_are_stored_or_refused(ada: Api) -> None:
    headers = {"content-type": "application/json"}

    for place, number in enumerate(("9" * 30, "2.0", "1e308", "1e999", "9" * 5_000, "1" + "0" * 140_000)):
        content = f'{{"title": "{place}", "pipeline": "crunch", "params": {{"seconds": {number}}}}}'
        response = await ada.http.post(URL, content=content, headers=headers)

        assert response.status_code in (201, 400, 422), (number[:10], response.text)
    assert [item["params"] for item in (await ada.http.get(URL)).json()["items"]] == [{"seconds": 2.0}]


async def test_replacing_a_preset_is_idempotent(ada: Api) -> None:
    preset = await save(ada, description="Three", tags=["a"])
    url = f"{URL}/{preset['id']}"
    whole = {"title": "None", "pipeline": "noop", "params": {}}

    first = await ada.http.put(url, json=whole)
    second = await ada.http.put(url, json=whole)

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    body = first.json()
    assert (body["title"], body["description"], body["pipeline"], body["tags"]) == ("None", None, "noop", [])
    assert body["updated_at"] > body["created_at"]


async def test_patch_keeps_absent_fields_and_null_clears_a_field(ada: Api) -> None:
    preset = await save(ada, description="Three", tags=["a"])
    url = f"{URL}/{preset['id']}"

    unchanged = (await ada.http.patch(url, json={})).json()
    cleared = (await ada.http.patch(url, json={"description": None})).json()
    changed = (await ada.http.patch(url, json={"params": {"count": 4}, "tags": ["b"]})).json()

    assert unchanged == preset
    assert cleared == preset | {"description": None, "updated_at": cleared["updated_at"]}
    assert (changed["params"], changed["tags"], changed["title"]) == ({"count": 4}, ["b"], "Slow")
    assert (await ada.http.get(url)).json() == changed


BAD_PATCHES: list[tuple[Any, str]] = [
    ({"title": None}, "$.title"),
    ({"pipeline": None}, "$.pipeline"),
    ({"params": None}, "$.params"),
    ({"tags": None}, "$.tags"),
    ({"params": {"count": "many"}}, "$.params.count"),
    ({"pipeline": "noop"}, "$.params.count"),
    ({"id": UNKNOWN}, "$.id"),
]


async def test_an_invalid_patch_changes_nothing(ada: Api) -> None:
    preset = await save(ada)

    for patch, path in BAD_PATCHES:
        response = await ada.http.patch(f"{URL}/{preset['id']}", json={"description": "new", **patch})

        assert response.status_code == 422, response.text
        assert path in [fault["path"] for fault in response.json()["errors"]]
    assert (await ada.http.get(f"{URL}/{preset['id']}")).json() == preset


async def test_too_large_params_and_meta_are_refused(ada: Api) -> None:
    preset = await save(ada)
    url = f"{URL}/{preset['id']}"
    large = {"text": "x" * MAX_JSON_BYTES}
    body = {"title": "Large", "pipeline": "noop", "params": large}

    responses = [
        (await ada.http.post(URL, json=body), "$.params"),
        (await ada.http.put(url, json=body), "$.params"),
        (await ada.http.patch(url, json={"title": "Large", "params": large}), "$.params"),
        (await ada.http.post(f"{url}/jobs", json={"meta": large}), "$.meta"),
    ]

    for response, path in responses:
        faults = problem(response, 422, "value_too_large")["errors"]
        assert [fault["path"] for fault in faults] == [path]
    assert (await ada.http.get(URL)).json()["items"] == [preset]
    assert (await ada.http.get("/api/v1/jobs")).json()["total"] == 0


async def test_titles_are_unique_per_owner_also_under_concurrency(ada: Api, bob: Api) -> None:
    responses = await asyncio.gather(*(ada.http.post(URL, json=TICKS) for _ in range(12)))
    of_another = await bob.http.post(URL, json=TICKS)
    other = await save(ada, title="Other")
    renamed = await ada.http.patch(f"{URL}/{other['id']}", json={"title": "Slow"})

    assert sorted(response.status_code for response in responses) == [201] + [409] * 11
    assert of_another.status_code == 201
    for refused in [*(response for response in responses if response.status_code == 409), renamed]:
        assert [fault["path"] for fault in problem(refused, 409, "title_taken")["errors"]] == ["$.title"]


async def test_a_database_session_stays_usable_after_a_taken_title(ada: Api) -> None:
    preset = await save(ada)
    other = await save(ada, title="Other")
    owner = UUID(preset["owner_id"])
    sessions = async_sessionmaker(ada.app.state.services.engine, expire_on_commit=False)

    async with sessions.begin() as session:
        service = PresetService(session=session)
        with pytest.raises(PresetTitleTakenError):
            await service.create(owner, title="Slow", description=None, pipeline="noop", params={}, tags=[])
        with pytest.raises(PresetTitleTakenError):
            await service.update(UUID(other["id"]), Reach(owner), PresetChanges(title="Slow"))
        await service.create(owner, title="Third", description=None, pipeline="noop", params={}, tags=["x"])

    async with sessions() as session:
        mine = select(Preset.title).where(Preset.owner_id == owner).order_by(Preset.title)
        titles = (await session.execute(mine)).scalars().all()
    assert titles == ["Other", "Slow", "Third"]


async def test_lists_are_filtered_searched_sorted_and_paged(ada: Api) -> None:
    presets = [
        await save(ada, title="b 50%", tags=["x"]),
        await save(ada, title="a 500", description="back\\slash"),
        await save(ada, title="c", pipeline="noop", params={}),
    ]

    async def titles(query: str) -> list[str]:
        response = await ada.http.get(f"{URL}?{query}")
        assert response.status_code == 200, response.text
        return [preset["title"] for preset in response.json()["items"]]

    assert (await ada.http.get(URL)).json()["items"] == presets[::-1]
    assert await titles("order_by=title") == ["a 500", "b 50%", "c"]
    assert await titles("search=50%25") == ["b 50%"]
    assert await titles("search=_") == []
    assert await titles("search=K%5CS") == ["a 500"]
    assert await titles("pipeline=noop") == ["c"]
    assert await titles("tag=x") == ["b 50%"]
    page = (await ada.http.get(f"{URL}?limit=1&offset=1&order_by=-title")).json()
    assert ([item["title"] for item in page["items"]], page["total"]) == (["b 50%"], 3)
    assert (await ada.http.get(f"{URL}?offset=7")).json()["total"] == 3


async def test_invalid_list_queries_are_refused(ada: Api) -> None:
    for query in ("order_by=params", "order_by=", "limit=1001", "search=%00"):
        response = await ada.http.get(f"{URL}?{query}")

        assert response.status_code == 422, response.text
        if query == "order_by=params":
            assert "created_at, -created_at, updated_at, -updated_at, title, -title" in response.text


async def test_foreign_presets_are_hidden_from_users_but_not_from_admins(
    ada: Api, bob: Api, root: Api
) -> None:
    preset = await save(ada)
    url = f"{URL}/{preset['id']}"

    for base_url, caller in ((url, bob), (f"{URL}/{UNKNOWN}", ada)):
        for method, suffix, body in (
            ("GET", "", None),
            ("PUT", "", TICKS),
            ("PATCH", "", {}),
            ("DELETE", "", None),
            ("POST", "/jobs", {}),
        ):
            problem(await caller.http.request(method, base_url + suffix, json=body), 404, "preset_not_found")
    assert (await bob.http.get(URL)).json()["total"] == 0
    assert preset in (await root.http.get(URL)).json()["items"]
    assert (await root.http.patch(url, json={"tags": ["t"]})).json()["tags"] == ["t"]
    job = (await root.http.post(f"{url}/jobs")).json()
    assert await ada.job(job["id"]) == job
    tags = (await ada.http.get("/api/v1/tags")).json()["items"]
    assert [(tag["name"], tag["owner_id"]) for tag in tags] == [("t", preset["owner_id"])]


async def test_running_a_preset_submits_a_job_with_its_params(ada: Api) -> None:
    preset = await save(ada)
    url = f"{URL}/{preset['id']}/jobs"

    bare = await ada.http.post(url)
    body = {"priority": 7, "queue": "fast", "tags": ["mine"], "meta": {"a": 1}, "max_attempts": 2}
    full = await ada.http.post(url, json=body | {"timeout_seconds": 9, "run_at": "2030-01-01T00:00:00Z"})

    assert (bare.status_code, full.status_code) == (202, 202)
    assert bare.headers["location"] == f"/api/v1/jobs/{bare.json()['id']}"
    for response in (bare, full):
        job = response.json()
        assert (job["preset_id"], job["pipeline"], job["params"]) == (preset["id"], "ticks", {"count": 3})
        assert (await ada.job(job["id"])) == job
    assert {name: full.json()[name] for name in body} == body
    of_preset = (await ada.http.get(f"/api/v1/jobs?preset={preset['id']}")).json()
    assert of_preset["items"] == [full.json(), bare.json()]
    assert (await ada.http.get(f"/api/v1/jobs?preset={UNKNOWN}")).json()["total"] == 0


BAD_RUNS: list[tuple[bytes, int, str | None]] = [
    (b"{", 400, None),
    (b"[]", 422, "$"),
    (b'{"pipeline": "noop"}', 422, "$.pipeline"),
    (b'{"params": {}}', 422, "$.params"),
    (b'{"priority": 10}', 422, "$.priority"),
    (b'{"run_at": "9999-12-31T23:59:59-14:00"}', 422, "$.run_at"),
]


async def test_invalid_run_requests_are_refused(ada: Api) -> None:
    preset = await save(ada)
    headers = {"content-type": "application/json"}

    for content, status, path in BAD_RUNS:
        response = await ada.http.post(f"{URL}/{preset['id']}/jobs", content=content, headers=headers)

        assert response.status_code == status, response.text
        assert [fault["path"] for fault in response.json().get("errors", [])] == ([path] if path else [])
    assert (await ada.http.get("/api/v1/jobs")).json()["total"] == 0


async def test_the_contract_makes_the_body_of_a_run_optional(ada: Api) -> None:
    paths = (await ada.http.get("/openapi.json")).json()["paths"]

    assert paths["/api/v1/presets/{preset_id}/jobs"]["post"]["requestBody"]["required"] is False
    assert paths["/api/v1/presets"]["post"]["requestBody"]["required"] is True


async def test_a_run_with_a_repeated_idempotency_key_is_replayed(ada: Api) -> None:
    preset, other = await save(ada), await save(ada, title="Other")
    key = {"Idempotency-Key": "once"}

    first = await ada.http.post(f"{URL}/{preset['id']}/jobs", headers=key)
    again = await ada.http.post(f"{URL}/{preset['id']}/jobs", json={}, headers=key)
    elsewhere = await ada.http.post(f"{URL}/{other['id']}/jobs", headers=key)

    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    problem(elsewhere, 409, "idempotency_conflict")


async def test_a_run_is_replayed_after_its_preset_was_deleted(ada: Api) -> None:
    preset = await save(ada)
    url, key = f"{URL}/{preset['id']}/jobs", {"Idempotency-Key": "once"}
    first = await ada.http.post(url, headers=key)
    assert (await ada.http.delete(f"{URL}/{preset['id']}")).status_code == 204

    again = await ada.http.post(url, headers=key)

    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["location"] == first.headers["location"]
    problem(await ada.http.post(url, headers={"Idempotency-Key": "another"}), 404, "preset_not_found")
    problem(await ada.http.post(url), 404, "preset_not_found")


async def test_an_admins_idempotency_key_is_not_replayed_to_the_presets_owner(ada: Api, root: Api) -> None:
    preset = await save(ada)
    key = {"Idempotency-Key": "once"}

    first = await root.http.post(f"{URL}/{preset['id']}/jobs", headers=key)
    again = await root.http.post(f"{URL}/{preset['id']}/jobs", headers=key)
    owners = await ada.http.post(f"{URL}/{preset['id']}/jobs", headers=key)

    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    assert await ada.job(first.json()["id"]) == first.json()
    problem(owners, 409, "idempotency_conflict")


async def test_a_preset_can_be_deleted_with_its_finished_jobs(ada: Api, shared_api: SharedApi) -> None:
    preset = await save(ada, tags=["kept"])
    url = f"{URL}/{preset['id']}"
    job = (await ada.http.post(f"{url}/jobs", json={"tags": ["kept"]})).json()
    stranger = await ada.submit("noop")
    (file,) = await shared_api.database.fetch(
        "INSERT INTO files (id, owner_id, job_id, step, name, media_type, size, sha256,"
        " created_at, updated_at)"
        " VALUES (gen_random_uuid(), $1, $2, 'tick', 'a', 'a/b', 1, sha256('x'), now(), now()) RETURNING id",
        preset["owner_id"],
        job["id"],
    )

    with_jobs = f"{url}?keep_jobs=false"
    problem(await ada.http.delete(with_jobs), 409, "preset_in_use")
    await ada.http.post(f"/api/v1/jobs/{job['id']}/cancel")
    deleted, again = await ada.http.delete(with_jobs), await ada.http.delete(with_jobs)

    assert deleted.status_code == 204
    problem(again, 404, "preset_not_found")
    assert [item["id"] for item in (await ada.http.get("/api/v1/jobs")).json()["items"]] == [stranger["id"]]
    for table in ("job_events", "step_runs", "files", "job_tags"):
        rows = await shared_api.database.fetch(f"SELECT 1 FROM {table} WHERE job_id = $1", job["id"])  # noqa: S608
        assert rows == [], table
    removals_query = "SELECT 1 FROM blob_removals WHERE file_id = $1"
    assert len(await shared_api.database.fetch(removals_query, file["id"])) == 1
    tags = (await ada.http.get("/api/v1/tags")).json()["items"]
    assert [(tag["name"], tag["jobs"], tag["presets"]) for tag in tags] == [("kept", 0, 0)]


@pytest.mark.parametrize("query", ["", "?keep_jobs=true"])
async def test_jobs_stay_when_their_preset_is_deleted(ada: Api, query: str) -> None:
    preset = await save(ada)
    url = f"{URL}/{preset['id']}"
    job = (await ada.http.post(f"{url}/jobs")).json()
    ended = (await ada.http.post(f"{url}/jobs")).json()
    await ada.http.post(f"/api/v1/jobs/{ended['id']}/cancel")

    deleted = await ada.http.delete(f"{url}{query}")

    assert deleted.status_code == 204
    assert await ada.job(job["id"]) == job | {"preset_id": None}
    kept = await ada.job(ended["id"])
    assert (kept["state"], kept["preset_id"]) == ("cancelled", None)
    problem(await ada.http.get(url), 404, "preset_not_found")


async def test_a_row_of_a_preset_that_goes_leaves_its_jobs(ada: Api, shared_api: SharedApi) -> None:
    preset = await save(ada)
    job = (await ada.http.post(f"{URL}/{preset['id']}/jobs")).json()

    await shared_api.database.fetch("DELETE FROM presets WHERE id = $1", preset["id"])

    assert (await ada.job(job["id"]))["preset_id"] is None


async def test_a_preset_deleted_while_it_is_run_is_not_found_and_fails_no_other_job(
    ada: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = await save(ada)
    submitter = ada.app.state.services.submitter
    resolver = submitter._resolver
    resolve = resolver.resolve

    async def delete_first(specs: Any, *arguments: Any) -> Any:
        if specs[0].preset_id is not None:
            assert (await ada.http.delete(f"{URL}/{preset['id']}")).status_code in (204, 404)
        return await resolve(specs, *arguments)

    monkeypatch.setattr(resolver, "resolve", delete_first)

    run, other_submission = await asyncio.gather(
        ada.http.post(f"{URL}/{preset['id']}/jobs"), ada.http.post("/api/v1/jobs", json={"pipeline": "noop"})
    )

    problem(run, 404, "preset_not_found")
    assert other_submission.status_code == 202


async def test_submissions_do_not_wait_for_a_locked_preset(ada: Api, shared_api: SharedApi) -> None:
    preset = await save(ada)
    sessions = async_sessionmaker(ada.app.state.services.engine)

    async with sessions.begin() as session:
        await session.execute(select(Preset).where(Preset.id == UUID(preset["id"])).with_for_update())
        held, other_submission = await asyncio.gather(
            ada.http.post(f"{URL}/{preset['id']}/jobs"),
            ada.http.post("/api/v1/jobs", json={"pipeline": "noop"}),
        )
    released = await ada.http.post(f"{URL}/{preset['id']}/jobs")

    assert problem(held, 503, "preset_busy")
    assert held.headers["retry-after"]
    assert (other_submission.status_code, released.status_code) == (202, 202)
    assert (await ada.http.get("/api/v1/jobs")).json()["total"] == 2
