"""A search looks at a bounded amount of text, newest jobs first, and says how far it looked."""

from typing import Any

import pytest

from headrace.domain.jobs import search
from support.harness import Api
from support.shared_api import SharedApi

URL = "/api/v1/jobs"
LATER = "2100-01-01T00:00:00Z"


async def submit(api: Api, *metas: dict[str, Any], **more: Any) -> list[str]:
    return [(await api.submit("noop", meta=meta, run_at=LATER, **more))["id"] for meta in metas]


async def found(api: Api, **query: Any) -> dict[str, Any]:
    response = await api.http.get(URL, params=query)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def ids(page: dict[str, Any]) -> list[str]:
    return [job["id"] for job in page["items"]]


async def test_a_search_finds_parts_of_id_pipeline_params_and_meta(ada: Api, bob: Api) -> None:
    (job,) = await submit(ada, {"site": "Zürich"})
    ticks = (await ada.submit("ticks", params={"count": 7_654}, run_at=LATER))["id"]
    await submit(bob, {"site": "Zürich"})

    assert ids(await found(ada, search="Züri")) == [job]
    assert ids(await found(ada, search="SITE")) == [job]
    assert ids(await found(ada, search="7654")) == [ticks]
    assert ids(await found(ada, search="tick")) == [ticks]
    assert ids(await found(ada, search=job[9:])) == [job]
    assert ids(await found(ada, search="Züri", pipeline="ticks")) == []
    page = await found(ada, search="noop")
    assert (ids(page), page["total"], "searched_back_to" in page) == ([job], 1, False)


async def test_beyond_its_reach_a_search_says_how_far_it_looked_and_can_be_continued(
    ada: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_SEARCHED_JOBS", 3)
    jobs = await submit(ada, *({"note": f"n{number % 2}"} for number in range(7)))

    first = await found(ada, search="n1")
    second = await found(ada, search="n1", created_before=first["searched_back_to"])
    third = await found(ada, search="n1", created_before=second["searched_back_to"])
    old = await found(ada, search=jobs[0])
    none = await found(ada, search="nothing")

    assert (ids(first), first["total"]) == ([jobs[5]], 1)
    assert ids(second) == [jobs[3], jobs[1]][: len(ids(second))]
    assert ids(first) + ids(second) + ids(third) == [jobs[5], jobs[3], jobs[1]]
    assert "searched_back_to" not in third
    assert (ids(old), ids(none)) == ([jobs[0]], [])
    assert none["searched_back_to"] == first["searched_back_to"]


async def test_a_search_reads_a_bounded_amount_of_text_and_no_large_values(
    ada: Api, monkeypatch: pytest.MonkeyPatch, shared_api: SharedApi
) -> None:
    needle = "needle"
    random_text = "SELECT string_agg(md5(n::text), '') AS text FROM generate_series(1, {}) n"
    (long,) = await shared_api.database.fetch(random_text.format(100))
    (large,) = await shared_api.database.fetch(random_text.format(5_000))
    in_large, in_long = await submit(ada, {needle: large["text"]}, {needle: long["text"]})
    await submit(ada, {"other": long["text"]}, {"other": long["text"]})

    unbounded = await found(ada, search=needle)
    monkeypatch.setattr(search, "_MAX_COST", 8_000)
    bounded = await found(ada, search=needle)

    assert (ids(unbounded), "searched_back_to" in unbounded) == ([in_long], False)
    assert (ids(bounded), "searched_back_to" in bounded) == ([], True)
    assert in_large in ids(await found(ada))


async def test_jobs_of_one_moment_are_all_searched_before_older_ones(
    ada: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = await submit(ada, {"note": "old"})
    batch = [{"pipeline": "noop", "meta": {"note": "new"}, "run_at": LATER}] * 5
    created = (await ada.http.post(f"{URL}/batch", json={"jobs": batch})).json()["items"]
    (newest,) = await submit(ada, {"note": "newest"})
    monkeypatch.setattr(search, "MAX_SEARCHED_JOBS", 3)

    first = await found(ada, search="note")
    monkeypatch.setattr(search, "MAX_SEARCHED_JOBS", 6)
    second = await found(ada, search="note", created_before=first["searched_back_to"])

    assert ids(first)[0] == newest
    assert set(ids(second)) == {job["id"] for job in created} | {old}


async def test_a_batch_that_is_larger_than_the_reach_does_not_stop_a_search(
    ada: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = await submit(ada, {"note": "old"})
    batch = [{"pipeline": "noop", "meta": {"note": "new"}, "run_at": LATER}] * 5
    await ada.http.post(f"{URL}/batch", json={"jobs": batch})
    monkeypatch.setattr(search, "MAX_SEARCHED_JOBS", 3)

    first = await found(ada, search="old")
    second = await found(ada, search="old", created_before=first["searched_back_to"])

    assert (ids(first), ids(second)) == ([], [old])


async def test_an_admin_searches_the_jobs_of_all_users_newest_first(
    ada: Api, bob: Api, root: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_SEARCHED_JOBS", 2)
    older = [*await submit(ada, {"note": "here"}), *await submit(bob, {"note": "here"})]
    newer = [*await submit(ada, {"note": "here"}), *await submit(bob, {"note": "here"})]

    first = await found(root, search="here")
    second = await found(root, search="here", created_before=first["searched_back_to"])

    assert ids(first) == newer[::-1]
    # The job at which the first search stopped belongs to the second.
    assert ids(second) == older[::-1]


async def test_a_graphql_search_says_how_far_it_looked(ada: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = await submit(ada, {"note": "a"}, {"note": "b"})

    async def ask(query: str) -> dict[str, Any]:
        body: dict[str, Any] = (await ada.http.post("/graphql", json={"query": query})).json()
        return body

    whole = await ask('{ jobs(filters: {search: "note"}) { id } }')
    monkeypatch.setattr(search, "MAX_SEARCHED_JOBS", 1)
    part = await ask('{ newest: jobs(filters: {search: "note"}) { id createdAt } jobs { id } }')

    assert [job["id"] for job in whole["data"]["jobs"]] == jobs[::-1]
    assert "extensions" not in whole
    assert [job["id"] for job in part["data"]["newest"]] == [jobs[1]]
    assert list(part["extensions"]["searchedBackTo"]) == ["newest"]
