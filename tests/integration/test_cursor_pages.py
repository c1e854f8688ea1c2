"""Pages by cursor, bounded totals and offsets, and lists that look at a bounded number of jobs."""

from typing import Any, Final

import pytest

from headrace.domain import paging
from headrace.domain.cursors import Position
from headrace.domain.files import repository as file_repository
from headrace.domain.files.models import File
from headrace.domain.files.repository import FileRepository
from headrace.domain.jobs import job_lists, rare_filters
from headrace.domain.jobs.job_lists import JobLists, JobSelection
from headrace.domain.paging import ListPage
from support.harness import Api
from support.shared_api import SharedApi

JOBS: Final = "/api/v1/jobs"
LATER: Final = "2100-01-01T00:00:00Z"
ORDERS: Final = [sign + name for name in job_lists.SORT_COLUMNS for sign in ("", "-")]


async def page(api: Api, path: str = JOBS, **query: Any) -> dict[str, Any]:
    response = await api.http.get(path, params=query)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def ids(*pages: dict[str, Any]) -> list[str]:
    return [item["id"] for body in pages for item in body["items"]]


async def walk(api: Api, path: str = JOBS, **query: Any) -> list[dict[str, Any]]:
    """Return all pages of a list, each fetched with the cursor of the one before it."""
    pages = [await page(api, path, **query)]
    for _ in range(50):
        if "next" not in pages[-1]:
            return pages
        pages.append(await page(api, path, **{**query, "after": pages[-1]["next"]}))
    raise AssertionError("the list does not end")


async def submit(api: Api, count: int, **fields: Any) -> list[str]:
    """Submit jobs one by one, so that each has its own time; return their ids."""
    jobs = [
        {"pipeline": "noop", "run_at": LATER, "priority": number % 3, **fields} for number in range(count)
    ]
    return [(await api.http.post(JOBS, json=job)).json()["id"] for job in jobs]


async def finish(shared_api: SharedApi, job_ids: list[str], state: str = "succeeded") -> None:
    await shared_api.database.fetch(
        "UPDATE jobs SET state = $2, started_at = created_at, finished_at = created_at + interval '1 s'"
        " WHERE id = ANY($1::uuid[])",
        *(job_ids, state),
    )


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Bounds that a few jobs exceed: a window of three jobs, and no filter counts as rare."""
    monkeypatch.setattr(job_lists, "MAX_LOOKED_JOBS", 3)
    monkeypatch.setattr(rare_filters, "MAX_RARE", 0)
    return monkeypatch


@pytest.mark.parametrize("order_by", ORDERS)
async def test_pages_by_cursor_are_those_of_the_whole_list_while_jobs_are_added(
    ada: Api, shared_api: SharedApi, order_by: str
) -> None:
    jobs = await submit(ada, 8)
    await finish(shared_api, jobs[2:5])
    whole = ids(await page(ada, order_by=order_by))

    first = await page(ada, order_by=order_by, limit=3)
    added = await submit(ada, 2)
    rest = await walk(ada, order_by=order_by, limit=3, after=first["next"])

    assert [job for job in ids(first, *rest) if job not in added] == whole
    assert first["total"] == 8
    assert "next" not in rest[-1]


@pytest.mark.parametrize(
    ("path", "order_by"),
    [
        ("/api/v1/files", "name"),
        ("/api/v1/files", "-size"),
        ("/api/v1/presets", "title"),
        ("/api/v1/tags", "-name"),
    ],
)
async def test_other_lists_have_cursors_as_well(ada: Api, path: str, order_by: str) -> None:
    for number in range(5):
        await ada.http.post("/api/v1/files", files={"file": (f"{number % 2}.txt", b"x" * number)})
        await ada.http.post("/api/v1/presets", json={"title": f"T{number}", "pipeline": "noop", "params": {}})
        await ada.http.post("/api/v1/tags", json={"name": f"t{number}"})

    pages = await walk(ada, path, order_by=order_by, limit=2)

    assert ids(*pages) == ids(await page(ada, path, order_by=order_by))
    assert [len(body["items"]) for body in pages] == [2, 2, 1]


@pytest.mark.parametrize("query", [{"search": "txt"}, {"order_by": "name"}, {"order_by": "-size"}])
async def test_files_that_are_tested_or_sorted_one_by_one_are_the_newest(
    ada: Api, monkeypatch: pytest.MonkeyPatch, query: dict[str, str]
) -> None:
    path, uploaded = "/api/v1/files", []
    for number in range(5):
        response = await ada.http.post(path, files={"file": (f"{number}.txt", b"x" * number)})
        uploaded.append(response.json()["id"])
    whole = await page(ada, path, **query)
    monkeypatch.setattr(file_repository, "MAX_LOOKED_FILES", 3)

    newest = await page(ada, path, **query)
    rest = await page(ada, path, created_before=newest["searched_back_to"], **query)

    assert (sorted(ids(whole)), whole["total"], "searched_back_to" in whole) == (uploaded, 5, False)
    assert (sorted(ids(newest)), newest["total_is_estimate"]) == (uploaded[2:], True)
    assert (sorted(ids(rest)), "searched_back_to" in rest) == (uploaded[:2], False)


async def test_the_window_of_files_does_not_move_while_files_are_uploaded(
    ada: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/api/v1/files"

    async def upload(count: int) -> list[str]:
        files = {"file": ("x.txt", b"x")}
        return [(await ada.http.post(path, files=files)).json()["id"] for _ in range(count)]

    uploaded = await upload(5)
    monkeypatch.setattr(file_repository, "MAX_LOOKED_FILES", 3)
    fetch = FileRepository._fetch_from_window

    async def fetch_after_uploads(files: FileRepository, *arguments: Any) -> ListPage[File]:
        await upload(2)
        return await fetch(files, *arguments)

    monkeypatch.setattr(FileRepository, "_fetch_from_window", fetch_after_uploads)

    assert sorted(ids(await page(ada, path, order_by="name"))) == uploaded[2:]


async def test_lists_of_admins_have_cursors_as_well(ada: Api, bob: Api, root: Api) -> None:
    for api in (ada, bob, root):
        await submit(api, 1)
    await root.http.post("/api/v1/tags", json={"name": "audited"})

    for path in ("/api/v1/users", "/api/v1/audit-log"):
        assert ids(*await walk(root, path, limit=1)) == ids(await page(root, path, limit=1_000))


async def test_an_admin_lists_the_jobs_of_all_users_in_the_order_of_submission(
    ada: Api, bob: Api, root: Api
) -> None:
    jobs = [(await submit(api, 1))[0] for api in (ada, bob, ada)]
    shown = await page(ada, JOBS + f"/{jobs[0]}"), await page(ada, JOBS + f"/{jobs[2]}")
    between = {"created_after": shown[0]["created_at"], "created_before": shown[1]["created_at"]}

    assert ids(*await walk(root, limit=1, created_after=shown[0]["created_at"])) == jobs[::-1]
    assert ids(*await walk(root, limit=1, order_by="created_at", **between)) == jobs[:2]


async def test_a_filter_without_an_index_looks_at_a_window_and_goes_on_behind_it(
    ada: Api, small_bounds: pytest.MonkeyPatch
) -> None:
    wanted = await submit(ada, 2, queue="rare", tags=["a"])
    await submit(ada, 7)

    for filters in ({"queue": "rare"}, {"tag": "a"}):
        first = await page(ada, **filters)
        pages = await walk(ada, **filters)

        assert (first["items"], first["total_is_estimate"]) == ([], True)
        assert ids(*pages) == wanted[::-1]
        assert ids(*await walk(ada, order_by="created_at", **filters)) == wanted
        back_to = first["searched_back_to"]
        assert ids(await page(ada, created_before=back_to, **filters)) == []
        assert "searched_back_to" not in pages[-1]


async def test_a_window_does_not_move_while_jobs_are_submitted(
    ada: Api, small_bounds: pytest.MonkeyPatch
) -> None:
    (wanted,) = await submit(ada, 1, queue="rare")
    await submit(ada, 2)
    select = JobLists.select

    async def select_before_submissions(lists: JobLists, position: Position | None) -> JobSelection:
        selection = await select(lists, position)
        await submit(ada, 2)
        return selection

    small_bounds.setattr(JobLists, "select", select_before_submissions)
    whole = await page(ada, queue="rare")
    (later,) = await submit(ada, 1, queue="rare")
    await submit(ada, 2)
    cut = await page(ada, queue="rare")
    rest = await walk(ada, queue="rare", after=cut["next"])

    assert ids(whole) == [wanted]
    assert (ids(cut), ids(*rest)) == ([later], [wanted])


async def test_a_page_behind_an_offset_goes_on_only_if_the_offset_is_used_up(
    ada: Api, small_bounds: pytest.MonkeyPatch
) -> None:
    old = await submit(ada, 2, queue="rare")
    await submit(ada, 2)
    new = await submit(ada, 1, queue="rare")
    await submit(ada, 1)
    newest = await submit(ada, 1, queue="rare")

    pages = await walk(ada, queue="rare", limit=2)
    second = await page(ada, queue="rare", limit=2, offset=1)
    beyond = await page(ada, queue="rare", limit=2, offset=2)

    assert ids(*pages) == [*newest, *new, *old[::-1]]
    assert ids(second, *await walk(ada, queue="rare", after=second["next"])) == [*new, *old[::-1]]
    assert (beyond["items"], "next" in beyond) == ([], False)
    assert "searched_back_to" in beyond


async def test_an_order_without_an_index_sorts_the_newest_jobs_and_says_so(
    ada: Api, small_bounds: pytest.MonkeyPatch
) -> None:
    jobs = await submit(ada, 5)

    by_priority = await page(ada, order_by="-priority")

    assert sorted(ids(by_priority)) == sorted(jobs[2:])
    assert [job["priority"] for job in by_priority["items"]] == [2, 1, 0]
    shown = await page(ada, JOBS + f"/{jobs[2]}")
    assert by_priority["searched_back_to"] <= shown["created_at"]
    assert by_priority["total_is_estimate"]


async def test_times_of_submission_narrow_the_list_in_the_order_of_ends(
    ada: Api, root: Api, shared_api: SharedApi, small_bounds: pytest.MonkeyPatch
) -> None:
    jobs = await submit(ada, 6)
    await finish(shared_api, jobs, "failed")
    second, fifth = [(await page(ada, f"{JOBS}/{jobs[place]}"))["created_at"] for place in (1, 4)]

    pages = await walk(
        root, state="failed", order_by="finished_at", created_after=second, created_before=fifth
    )

    assert ids(*pages) == jobs[1:4]


@pytest.mark.parametrize("order_by", ["finished_at", "-finished_at"])
async def test_an_admin_finds_failures_in_the_order_of_their_ends_however_many_jobs_ended_since(
    ada: Api, root: Api, shared_api: SharedApi, small_bounds: pytest.MonkeyPatch, order_by: str
) -> None:
    jobs = await submit(ada, 9)
    await finish(shared_api, jobs[2:])
    await finish(shared_api, jobs[:2], "failed")

    pages = await walk(root, state="failed", order_by=order_by)

    found = [job for job in ids(*pages) if job in jobs]
    assert found == (jobs[:2] if order_by == "finished_at" else jobs[1::-1])
    assert all("searched_back_to" not in body for body in pages)


async def test_a_list_of_several_states_is_complete_whatever_lies_between(
    ada: Api, shared_api: SharedApi, small_bounds: pytest.MonkeyPatch
) -> None:
    jobs = await submit(ada, 9)
    await finish(shared_api, jobs[1:8])
    await finish(shared_api, jobs[:1], "failed")

    pages = await walk(ada, state=["failed", "queued"], limit=1)
    second = await page(ada, state=["failed", "queued"], limit=1, offset=1)

    assert ids(*pages) == [jobs[8], jobs[0]]
    assert ids(second) == [jobs[0]]
    assert {(body["total"], body.get("total_is_estimate")) for body in pages} == {(2, None)}


async def test_the_jobs_of_a_rare_filter_are_found_however_old_they_are(
    ada: Api, root: Api, shared_api: SharedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = (
        await ada.http.post("/api/v1/presets", json={"title": "T", "pipeline": "noop", "params": {}})
    ).json()["id"]
    old = (await ada.http.post(f"/api/v1/presets/{preset}/jobs", json={"tags": ["rare"]})).json()["id"]
    (other,) = await submit(ada, 1, pipeline="ticks")
    await submit(ada, 7)
    monkeypatch.setattr(job_lists, "MAX_LOOKED_JOBS", 3)
    everything = {"total_is_estimate": None, "searched_back_to": None, "next": None}

    for filters, job in (({"preset": preset}, old), ({"tag": "rare"}, old)):
        body = await page(ada, **filters)
        assert (ids(body), body["total"]) == ([job], 1)
        assert everything == {name: body.get(name) for name in everything}
    ticks = await page(ada, pipeline="ticks", order_by="priority")
    assert ids(ticks) == [other]
    queued = await page(root, state="queued", limit=1_000)
    assert {old, other} <= set(ids(queued))


@pytest.mark.parametrize("order_by", ORDERS)
async def test_an_admin_finds_the_few_jobs_that_ended_in_a_state_however_many_are_newer(
    ada: Api, bob: Api, root: Api, shared_api: SharedApi, monkeypatch: pytest.MonkeyPatch, order_by: str
) -> None:
    monkeypatch.setattr(job_lists, "MAX_LOOKED_JOBS", 3)
    monkeypatch.setattr(rare_filters, "MAX_RARE", 5)
    await shared_api.database.fetch("DELETE FROM jobs")
    failed, cancelled = await submit(ada, 2) + await submit(bob, 1, pipeline="ticks"), await submit(bob, 1)
    succeeded, queued = await submit(ada, 7), await submit(bob, 2)
    for state, jobs in (("failed", failed), ("cancelled", cancelled), ("succeeded", succeeded)):
        await finish(shared_api, jobs, state)
    await shared_api.database.fetch("UPDATE jobs SET keep = true WHERE id = ANY($1::uuid[])", failed[:1])
    await shared_api.database.fetch("UPDATE jobs SET keep = true WHERE id = ANY($1::uuid[])", queued[:1])
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"state": "failed"}, failed),
        ({"state": ["failed", "cancelled"]}, failed + cancelled),
        ({"state": ["cancelled", "queued"]}, cancelled + queued),
        ({"state": "failed", "pipeline": "ticks"}, failed[2:]),
        ({"state": "succeeded", "pipeline": "ticks"}, []),
    ]

    for filters, jobs in cases:
        pages = await walk(root, order_by=order_by, limit=2, **filters)
        assert sorted(ids(*pages)) == sorted(jobs), filters
        assert {(body["total"], body.get("total_is_estimate")) for body in pages} == {(len(jobs), None)}
        assert all("searched_back_to" not in body for body in pages)
    if order_by == "-created_at":
        common = await walk(root, state="succeeded", limit=3)
        assert sorted(ids(*common)) == sorted(succeeded)
        assert common[0]["total_is_estimate"]


async def test_a_total_is_exact_up_to_its_bound_and_an_estimate_beyond(
    ada: Api, shared_api: SharedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(ada, 6)
    await shared_api.database.fetch("ANALYZE jobs")
    exact = await page(ada)

    monkeypatch.setattr(paging, "MAX_COUNTED", 5)
    estimate = await page(ada, limit=2)

    assert (exact["total"], "total_is_estimate" in exact) == (6, False)
    assert (len(estimate["items"]), estimate["total_is_estimate"]) == (2, True)
    assert estimate["total"] >= 6


@pytest.mark.parametrize("path", ["jobs", "files", "presets", "tags", "pipelines", "users", "audit-log"])
async def test_an_offset_that_is_too_large_is_refused_and_names_the_cursor(root: Api, path: str) -> None:
    response = await root.http.get(f"/api/v1/{path}?offset=10001")

    assert (response.status_code, response.json()["code"]) == (422, "offset_too_large")
    assert "after=" in response.json()["detail"]
    assert (await root.http.get(f"/api/v1/{path}?offset=10000")).status_code == 200


async def test_a_cursor_of_another_list_is_refused(ada: Api, bob: Api) -> None:
    await submit(ada, 2)
    cursor = (await page(ada, limit=1))["next"]

    for api, path, query in (
        (ada, JOBS, {"order_by": "priority"}),
        (ada, JOBS, {"state": "queued"}),
        (ada, "/api/v1/files", {}),
        (bob, JOBS, {}),
    ):
        response = await api.http.get(path, params={"after": cursor, **query})
        assert (response.status_code, response.json()["code"]) == (422, "cursor_invalid"), response.text
    for after in ("nope", "", "x" * 2_000):
        response = await ada.http.get(JOBS, params={"after": after})
        assert (response.status_code, response.json()["code"]) == (422, "cursor_invalid"), response.text
    both = await ada.http.get(JOBS, params={"after": cursor, "offset": 1})
    assert (both.status_code, both.json()["errors"][0]["path"]) == (422, "query.offset")


async def test_graphql_lists_have_the_same_bounds(ada: Api, small_bounds: pytest.MonkeyPatch) -> None:
    async def query(text: str) -> dict[str, Any]:
        body: dict[str, Any] = (await ada.http.post("/graphql", json={"query": text})).json()
        return body

    await submit(ada, 5, tags=["a"])

    for field in ("jobs", "presets", "tags", "pipelines"):
        far = await query(f"{{ {field}(offset: 10001) {{ __typename }} }}")
        assert far["errors"][0]["extensions"]["code"] == "offset_too_large"
    cut = await query('{ jobs(filters: {tag: "a"}) { id } }')
    whole = await query("{ jobs { id } }")
    assert len(cut["data"]["jobs"]) == 3
    assert cut["extensions"]["searchedBackTo"].keys() == {"jobs"}
    assert len(whole["data"]["jobs"]) == 5
    assert "searchedBackTo" not in whole.get("extensions", {})
