"""Changes of files: names and metadata; and the list of files."""

from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4, uuid5

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker

from headrace.domain.files.models import File
from headrace.domain.jobs.attempts.changes import NewFile
from headrace.domain.json_limits import MAX_JSON_BYTES
from support.harness import Api
from support.lease_driver import change, job_queue
from support.shared_api import SharedApi, problem

URL = "/api/v1/files"


async def upload(api: Api, name: str = "a.txt") -> dict[str, Any]:
    response = await api.http.post(URL, files={"file": (name, b"x")})
    assert response.status_code == 201, response.text
    file: dict[str, Any] = response.json()
    return file


async def stored_meta(api: Api, file: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata as a separate session reads it."""
    async with async_sessionmaker(api.app.state.services.engine)() as session:
        file_row = (await session.execute(select(File).where(File.id == UUID(file["id"])))).scalar_one()
        stored: Any = file_row.meta
        meta: dict[str, Any] = msgspec.json.decode(stored)
        return meta


async def test_meta_keeps_its_text(ada: Api) -> None:
    file = await upload(ada, "a")
    meta = '{"z":1.0,"a":-0.0,"b":1e22}'
    headers = {"content-type": "application/json"}

    patched = await ada.http.patch(f"{URL}/{file['id']}", content=f'{{"meta":{meta}}}', headers=headers)
    shown = await ada.http.get(f"{URL}/{file['id']}")

    assert f'"meta":{meta}' in patched.text
    assert f'"meta":{meta}' in shown.text


async def test_meta_patches_are_merged_at_every_depth_and_stored(ada: Api) -> None:
    file = await upload(ada)
    url = f"{URL}/{file['id']}"

    await ada.http.patch(url, json={"meta": {"keep": 1, "drop": 2, "deep": {"x": {"y": 1}, "z": 2}}})
    top = (await ada.http.patch(url, json={"meta": {"drop": None, "new": []}})).json()
    after_top = await stored_meta(ada, file)
    nested = (await ada.http.patch(url, json={"meta": {"deep": {"x": {"y": 9}, "z": None}}})).json()
    after_nested = await stored_meta(ada, file)

    assert file["meta"] == {}
    assert top["meta"] == after_top == {"keep": 1, "deep": {"x": {"y": 1}, "z": 2}, "new": []}
    assert nested["meta"] == after_nested == {"keep": 1, "deep": {"x": {"y": 9}}, "new": []}
    assert (await ada.http.get(url)).json() == nested


async def test_a_patch_renames_a_file_and_keeps_absent_fields(ada: Api) -> None:
    file = await upload(ada)
    url = f"{URL}/{file['id']}"

    unchanged = (await ada.http.patch(url, json={})).json()
    renamed = (await ada.http.patch(url, json={"name": "b.txt"})).json()
    content = await ada.http.get(f"{url}/content")

    assert unchanged == file
    assert renamed == file | {"name": "b.txt"}
    assert "b.txt" in content.headers["content-disposition"]


async def test_invalid_patches_of_a_file_are_refused(ada: Api) -> None:
    file = await upload(ada)
    names: list[Any] = [None, "", "a/b", "..", "\u00e9" * 200]

    for body in [*({"name": name} for name in names), {"meta": None}, {"meta": []}, {"size": 2}]:
        response = await ada.http.patch(f"{URL}/{file['id']}", json=body)

        assert response.status_code == 422, response.text
    assert (await ada.http.get(f"{URL}/{file['id']}")).json() == file


async def test_patches_cannot_grow_meta_beyond_its_limit(ada: Api) -> None:
    file = await upload(ada)
    url = f"{URL}/{file['id']}"
    patched = (await ada.http.patch(url, json={"meta": {"a": "x" * (MAX_JSON_BYTES // 2)}})).json()

    refused = await ada.http.patch(url, json={"name": "b.txt", "meta": {"b": "x" * (MAX_JSON_BYTES // 2)}})

    assert [fault["path"] for fault in problem(refused, 422, "value_too_large")["errors"]] == ["$.meta"]
    assert (await ada.http.get(url)).json() == patched


async def test_extreme_numbers_in_meta_are_accepted_or_refused(ada: Api) -> None:
    file = await upload(ada)
    url = f"{URL}/{file['id']}"
    headers = {"content-type": "application/json"}

    for number in ("9" * 30, "-" + "9" * 30, "1e308", "1e999", "9" * 5_000, "1" + "0" * 140_000):
        changed = await ada.http.patch(url, content=f'{{"meta": {{"n": {number}}}}}', headers=headers)

        assert changed.status_code in (200, 400, 422), (number[:10], changed.text)
        assert (await ada.http.get(url)).status_code == 200


async def test_files_are_listed_searched_sorted_and_paged(ada: Api, shared_api: SharedApi) -> None:
    job = await ada.submit("noop")
    await shared_api.database.fetch(
        "INSERT INTO files (id, owner_id, job_id, step, name, media_type, size, sha256,"
        " created_at, updated_at) SELECT gen_random_uuid(), owner_id, id, 'nothing', name, 'a/b', 1,"
        " sha256('x'), now(), now() FROM jobs CROSS JOIN unnest(ARRAY['one', 'two']) AS name"
        " WHERE jobs.id = $1",
        job["id"],
    )
    own = [await upload(ada, name) for name in ("b 50%.txt", "a 500.txt")]

    async def names(query: str) -> list[str]:
        response = await ada.http.get(f"{URL}?{query}")
        assert response.status_code == 200, response.text
        return [file["name"] for file in response.json()["items"]]

    everything = (await ada.http.get(URL)).json()
    assert (everything["total"], everything["items"][:2]) == (4, own[::-1])
    assert await names("search=50%25") == ["b 50%.txt"]
    assert await names("search=.TXT&order_by=name") == ["a 500.txt", "b 50%.txt"]
    assert await names(f"job={job['id']}&order_by=-name") == ["two", "one"]
    assert (await ada.http.get(f"{URL}?limit=1&offset=1")).json()["items"] == [own[0]]
    assert (await ada.http.get(f"{URL}?order_by=sha256")).status_code == 422


async def test_a_renamed_step_result_is_still_replaced_despite_a_duplicate_name(
    ada: Api, shared_api: SharedApi
) -> None:
    queue = uuid4().hex
    await ada.submit("noop", queue=queue)
    worker = job_queue(shared_api.database, queues=[queue])
    (claim,) = await worker.claim(1)

    async def save(write_no: int, name: str, size: int) -> None:
        file_change = change(claim, write_no)
        file_change.files.append(
            NewFile(
                id=uuid5(claim.job_id, name),
                step="nothing",
                name=name,
                media_type="a/b",
                size=size,
                sha256=sha256(name.encode()).digest(),
                blob_key=uuid4(),
            )
        )
        written, _ = (await worker.write([file_change]))[claim.job_id]
        assert written.verdict == "applied"

    await save(1, "first", 1)
    url = f"{URL}/{uuid5(claim.job_id, 'first')}"
    renamed = await ada.http.patch(url, json={"name": "second", "meta": {"kept": True}})
    await save(2, "second", 2)
    await save(3, "first", 3)

    assert renamed.status_code == 200
    listed = (await ada.http.get(f"{URL}?order_by=size")).json()["items"]
    assert [(file["name"], file["size"]) for file in listed] == [("second", 2), ("second", 3)]
    assert (await ada.http.get(url)).json()["meta"] == {"kept": True}


async def test_foreign_files_are_hidden_from_users_but_not_from_admins(ada: Api, bob: Api, root: Api) -> None:
    file = await upload(ada)
    url = f"{URL}/{file['id']}"

    foreign = await bob.http.patch(url, json={"name": "x"})

    problem(foreign, 404, "file_not_found")
    assert (await bob.http.get(URL)).json()["total"] == 0
    assert file in (await root.http.get(URL)).json()["items"]
    assert (await root.http.patch(url, json={"meta": {"a": 1}})).status_code == 200
