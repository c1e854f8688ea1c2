"""Lists of jobs: ownership, the preset filter, and included relations."""

from support.harness import Api
from support.shared_api import SharedApi, counted

URL = "/api/v1/jobs"


async def fill(ada: Api, shared_api: SharedApi, count: int) -> list[str]:
    """Submit jobs with tags; each has a step run and two files."""
    response = await ada.http.post(
        f"{URL}/batch",
        json={"jobs": [{"pipeline": "ticks", "tags": ["t", f"t {place}"]} for place in range(count)]},
    )
    ids = [job["id"] for job in response.json()["items"]]
    await shared_api.database.fetch(
        "INSERT INTO step_runs (job_id, key, name, state, attempt, tries)"
        " SELECT id, 'total', 'total', 'pending', 0, 0 FROM unnest($1::uuid[]) AS id",
        ids,
    )
    await shared_api.database.fetch(
        "INSERT INTO files (id, owner_id, job_id, step, name, media_type, size, sha256,"
        " created_at, updated_at) SELECT gen_random_uuid(), owner_id, id, 'total', name, 'a/b', 1,"
        " sha256('x'), now(), now() FROM jobs CROSS JOIN unnest(ARRAY['a', 'b']) AS name"
        " WHERE jobs.id = ANY($1::uuid[])",
        ids,
    )
    return ids


async def test_listing_fifty_jobs_with_all_relations_takes_at_most_five_statements(
    ada: Api, shared_api: SharedApi
) -> None:
    ids = await fill(ada, shared_api, 50)

    with counted(ada) as statements:
        page = (await ada.http.get(f"{URL}?include=steps,files,tags&limit=50")).json()

    assert len(statements) <= 5, statements
    assert (page["total"], sorted(job["id"] for job in page["items"])) == (50, sorted(ids))
    for job in page["items"]:
        assert [(step["name"], step["state"]) for step in job["steps"]] == [
            ("tick", "pending"),
            ("total", "pending"),
        ]
        assert sorted(file["name"] for file in job["files"]) == ["a", "b"]
        assert {file["job_id"] for file in job["files"]} == {job["id"]}
        assert len(job["tags"]) == 2


async def test_included_relations_match_the_separate_endpoints(ada: Api, shared_api: SharedApi) -> None:
    (job_id,) = await fill(ada, shared_api, 1)
    url = f"{URL}/{job_id}"

    with counted(ada) as statements:
        job = (await ada.http.get(f"{url}?include=files,steps")).json()
    plain = (await ada.http.get(url)).json()
    tagged = (await ada.http.get(f"{url}?include=tags")).json()

    assert len(statements) <= 5, statements
    assert job == plain | {
        "steps": (await ada.http.get(f"{url}/steps")).json()["items"],
        "files": (await ada.http.get(f"{url}/files")).json()["items"],
    }
    assert tagged == plain
    assert {"steps", "files"}.isdisjoint(plain)


async def test_a_list_without_relations_takes_three_statements_at_any_length(
    ada: Api, shared_api: SharedApi
) -> None:
    await fill(ada, shared_api, 20)

    with counted(ada) as short:
        await ada.http.get(f"{URL}?limit=1")
    with counted(ada) as long:
        await ada.http.get(f"{URL}?limit=20")

    assert (len(short), len(long)) == (3, 3)


async def test_the_error_for_an_unknown_include_lists_the_known_ones(ada: Api) -> None:
    job = await ada.submit("noop")

    for include in ("events", "steps,events", "steps,,files", "Steps", "__class__"):
        for url in (f"{URL}?include={include}", f"{URL}/{job['id']}?include={include}"):
            response = await ada.http.get(url)
            assert response.status_code == 422, response.text
            assert "steps, files, tags" in response.json()["detail"]
            assert [fault["path"] for fault in response.json()["errors"]] == ["query.include"]
    longest = await ada.http.get(f"{URL}?include=steps&limit=101")
    assert (longest.status_code, longest.json()["errors"][0]["path"]) == (422, "query.limit")


async def test_only_admins_can_list_the_jobs_of_another_owner(ada: Api, bob: Api, root: Api) -> None:
    of_ada, of_bob = await ada.submit("noop"), await bob.submit("noop")
    tag = {"name": "to know who I am"}
    ada_id, bob_id = [
        (await caller.http.post("/api/v1/tags", json=tag)).json()["owner_id"] for caller in (ada, bob)
    ]

    async def ids_of(caller: Api, query: str) -> list[str]:
        response = await caller.http.get(f"{URL}?{query}")
        assert response.status_code == 200, response.text
        return [job["id"] for job in response.json()["items"]]

    assert await ids_of(root, f"owner={ada_id}") == [of_ada["id"]]
    assert await ids_of(root, f"owner={bob_id}") == [of_bob["id"]]
    assert await ids_of(ada, f"owner={ada_id}") == [of_ada["id"]]
    assert await ids_of(ada, f"owner={bob_id}") == []
    assert (await ids_of(root, ""))[:2] == [of_bob["id"], of_ada["id"]]
    assert (await ada.http.get(f"{URL}?owner=me")).status_code == 422
