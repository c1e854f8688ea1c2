"""/stats, /queues, /workers and scaling: whose jobs they count, and what they say about them."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from headrace.domain.jobs.states import JobState
from headrace.domain.queues import repository as queues
from headrace.domain.statistics import repository as statistics
from support.harness import Api
from support.shared_api import SharedApi

BASE: Final = "/api/v1"
LATER: Final = "2100-01-01T00:00:00Z"


async def get(api: Api, path: str, **query: Any) -> dict[str, Any]:
    response = await api.http.get(BASE + path, params=query)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def submit(api: Api, count: int = 1, **fields: Any) -> list[str]:
    jobs = [{"pipeline": "noop", **fields}] * count
    response = await api.http.post(f"{BASE}/jobs/batch", json={"jobs": jobs})
    assert response.status_code == 202, response.text
    return [job["id"] for job in response.json()["items"]]


async def end(shared_api: SharedApi, job_id: str, state: str, *, waited: float, took: float) -> None:
    """End a job now, *took* seconds after its start and another *waited* seconds after its submission."""
    await shared_api.database.fetch(
        "UPDATE jobs SET state = $2, attempt = 1, finished_at = now(),"
        " started_at = now() - $4::float8 * interval '1 s',"
        " created_at = now() - ($3::float8 + $4) * interval '1 s',"
        " run_at = now() - ($3::float8 + $4) * interval '1 s',"
        " due_order = now() - ($3::float8 + $4) * interval '1 s' - interval '5 minutes'"
        " WHERE id = $1::text::uuid",
        *(job_id, state, waited, took),
    )


async def run(shared_api: SharedApi, job_id: str, worker: str) -> None:
    await shared_api.database.fetch(
        "UPDATE jobs SET state = 'running', lease_owner = $2, lease_expires_at = now() + interval '1 h',"
        " started_at = now() WHERE id = $1::text::uuid",
        *(job_id, worker),
    )


async def add_worker(shared_api: SharedApi, name: str, *served: str, age_seconds: int = 0) -> None:
    await shared_api.database.fetch(
        "INSERT INTO workers (id, queues, pipelines, concurrency, started_at, last_seen_at)"
        " VALUES ($1, $2, '{noop@1}', 50, now(), now() - $3 * interval '1 s')",
        *(name, list(served), age_seconds),
    )


@pytest.fixture(autouse=True)
async def empty(shared_api: SharedApi) -> None:
    """Numbers of all users begin at nothing."""
    await shared_api.database.fetch("DELETE FROM jobs")
    await shared_api.database.fetch("DELETE FROM workers")


async def test_stats_count_states_ends_and_times_of_the_callers_jobs(
    ada: Api, bob: Api, root: Api, shared_api: SharedApi
) -> None:
    first, second, third, fourth, running = await submit(ada, 5)
    await end(shared_api, first, "succeeded", waited=1, took=10)
    await end(shared_api, second, "succeeded", waited=2, took=20)
    await end(shared_api, third, "failed", waited=3, took=30)
    await run(shared_api, running, "w")
    (foreign,) = await submit(bob)
    await end(shared_api, foreign, "cancelled", waited=100, took=100)

    own, all_users = await get(ada, "/stats", window="2m"), await get(root, "/stats", window="2m")

    assert own["counts"] == {"queued": 1, "running": 1, "succeeded": 2, "failed": 1, "cancelled": 0}
    assert (own["window_seconds"], own["measured_seconds"], own["ended_jobs"]) == (120, 120, 3)
    assert (own["finished_per_minute"], own["failed_per_minute"]) == (1.5, 0.5)
    assert own["start_latency_seconds"]["p50"] == pytest.approx(2)
    assert own["duration_seconds"] == {
        "p50": pytest.approx(20),
        "p95": pytest.approx(29),
        "p99": pytest.approx(29.8),
    }
    assert all_users["counts"] == {**own["counts"], "cancelled": 1}
    assert all_users["ended_jobs"] == 4
    assert fourth not in (first, second, third)


async def test_stats_of_one_pipeline_and_of_none(ada: Api, root: Api, shared_api: SharedApi) -> None:
    (job,) = await submit(ada)
    await submit(ada, 2, pipeline="ticks")
    await end(shared_api, job, "succeeded", waited=1, took=1)

    for api in (ada, root):
        noop, nothing = await get(api, "/stats", pipeline="noop"), await get(api, "/stats", pipeline="no")
        assert (noop["counts"]["succeeded"], noop["counts"]["queued"], noop["ended_jobs"]) == (1, 0, 1)
        assert (noop["pipeline"], nothing["pipeline"]) == ("noop", "no")
        assert set(nothing["counts"].values()) == {0}
        assert (nothing["start_latency_seconds"], nothing["duration_seconds"]) == (None, None)


async def test_stats_beyond_their_bounds_are_estimates_of_the_newest_jobs(
    ada: Api, root: Api, shared_api: SharedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "MAX_COUNTED", 2)
    monkeypatch.setattr(statistics, "MAX_MEASURED", 2)
    for job in (await submit(ada, 6))[:4]:
        await end(shared_api, job, "succeeded", waited=1, took=1)
    await submit(ada, 3)
    await shared_api.database.fetch("ANALYZE jobs")

    for api in (ada, root):
        for pipeline in ({}, {"pipeline": "noop"}):
            stats = await get(api, "/stats", **pipeline)
            counts = stats["counts"]
            assert (counts["queued_is_estimate"], counts["succeeded_is_estimate"]) == (True, True)
            assert min(counts["queued"], counts["succeeded"]) >= 3
            assert "running_is_estimate" not in counts
            assert stats["ended_jobs"] == 2
            assert 0 < stats["measured_seconds"] < 3_600


async def test_stats_of_a_pipeline_do_not_show_how_many_jobs_others_have(
    ada: Api, bob: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "MAX_COUNTED", 2)
    await submit(bob, 3)

    assert (await get(ada, "/stats", pipeline="noop"))["counts"] == dict.fromkeys(JobState, 0)


async def test_queued_jobs_of_a_pipeline_beyond_the_bound_count_suspects(
    ada: Api, root: Api, shared_api: SharedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *others = await submit(ada, 5)
    for job in others:
        await end(shared_api, job, "succeeded", waited=1, took=1)
    await shared_api.database.fetch("UPDATE jobs SET losses = 3 WHERE id = $1::text::uuid", first)
    monkeypatch.setattr(statistics, "MAX_COUNTED", 2)

    counts = (await get(root, "/stats", pipeline="noop"))["counts"]

    assert (counts["queued"], "queued_is_estimate" in counts) == (2, False)
    assert counts["succeeded_is_estimate"]
    assert second != first


@pytest.mark.parametrize(("window", "seconds"), [("60s", 60), ("24h", 86_400), ("1d", 86_400)])
async def test_a_window_has_any_unit_of_time(ada: Api, window: str, seconds: int) -> None:
    assert (await get(ada, "/stats", window=window))["window_seconds"] == seconds


@pytest.mark.parametrize(
    "window", ["59s", "25h", "1441m", "99999h", "2d", "99999d", "", "-1h", "h", "1.5h", "٣h"]
)
async def test_a_window_that_is_too_short_too_long_or_none_is_refused(ada: Api, window: str) -> None:
    response = await ada.http.get(f"{BASE}/stats", params={"window": window})

    assert (response.status_code, response.json()["code"]) == (422, "validation_failed")
    assert response.json()["errors"][0]["path"] == "query.window"


async def test_queues_show_what_waits_what_runs_and_who_serves_them(
    ada: Api, bob: Api, root: Api, shared_api: SharedApi
) -> None:
    began = datetime.now(UTC)
    waiting, running = await submit(ada, 2, queue="mail")
    await submit(ada, 1, queue="mail", run_at=LATER)
    await submit(bob, 1, queue="other", run_at=LATER)
    await run(shared_api, running, "w1")
    await add_worker(shared_api, "w1", "default", "mail")
    await add_worker(shared_api, "gone", "mail", age_seconds=60)
    created = (await get(ada, f"/jobs/{waiting}"))["created_at"]
    mail = {"name": "mail", "queued": 2, "oldest_due_at": created, "running": 1, "workers": 1}
    default = {"name": "default", "queued": 0, "oldest_due_at": None, "running": 0, "workers": 1}
    other = {"name": "other", "queued": 1, "oldest_due_at": None, "running": 0, "workers": 0}

    assert (await get(ada, "/queues"))["items"] == [default, mail]
    assert (await get(bob, "/queues"))["items"] == [default, {**mail, **NOTHING}, other]
    assert (await get(root, "/queues"))["items"] == [default, mail, other]
    assert datetime.fromisoformat(created) >= began - timedelta(minutes=1)


NOTHING: Final = {"queued": 0, "oldest_due_at": None, "running": 0}


async def test_the_oldest_due_job_is_found_behind_jobs_of_higher_priority(
    root: Api, ada: Api, shared_api: SharedApi
) -> None:
    (low,) = await submit(ada, 1, priority=0)
    await submit(ada, 3, priority=9)
    suspect, delayed = await submit(ada, 2, queue="odd")
    await shared_api.database.fetch(
        "UPDATE jobs SET created_at = old.at, run_at = old.at, due_order = old.at"
        " FROM (SELECT now() - interval '5 minutes' AS at) old WHERE id = $1::text::uuid",
        low,
    )
    await shared_api.database.fetch("UPDATE jobs SET losses = 3 WHERE id = $1::text::uuid", suspect)
    await shared_api.database.fetch(
        "UPDATE jobs SET run_at = now() + interval '30 s',"
        " due_order = now() + interval '30 s' - priority * interval '1 minute' WHERE id = $1::text::uuid",
        delayed,
    )

    default, odd = (await get(root, "/queues"))["items"]
    scaling = await get(root, "/queues/odd/scaling", slots=1)

    assert default["oldest_due_at"] == (await get(ada, f"/jobs/{low}"))["created_at"]
    assert (odd["queued"], odd["oldest_due_at"]) == (2, (await get(ada, f"/jobs/{suspect}"))["created_at"])
    assert (scaling["due"], scaling["due_soon"]) == (1, 1)
    assert (await get(root, "/queues/default/scaling"))["oldest_due_seconds"] == pytest.approx(300, abs=200)


async def test_queues_beyond_the_bound_are_estimates(
    ada: Api, root: Api, shared_api: SharedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MAX_COUNTED", 2)
    monkeypatch.setattr(queues, "MIN_DUE", 2)
    monkeypatch.setattr(queues, "_COUNTED_WORKERS", 2)
    await submit(ada, 6)
    await shared_api.database.fetch("ANALYZE jobs")

    for api in (ada, root):
        (queue,) = (await get(api, "/queues"))["items"]
        assert queue["queued_is_estimate"]
        assert queue["queued"] >= 3
    scaling = await get(root, "/queues/default/scaling", slots=1)
    assert scaling["due_is_minimum"]
    assert scaling["wanted_workers"] == scaling["value"] == scaling["due"] == 2


async def test_a_queue_behind_the_bound_of_an_owner_is_shown_as_unknown(
    ada: Api, shared_api: SharedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MAX_COUNTED", 2)
    await submit(ada, 3)
    await submit(ada, 1, queue="mail")
    await add_worker(shared_api, "w1", "mail")

    default, mail = (await get(ada, "/queues"))["items"]

    assert (default["name"], mail["name"]) == ("default", "mail")
    assert (default["queued_is_estimate"], mail["queued_is_estimate"]) == (True, True)


async def test_queues_that_workers_serve_are_shown_before_others(
    ada: Api, root: Api, shared_api: SharedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MAX_QUEUES", 2)
    for queue in ("a", "b", "c"):
        await submit(ada, 1, queue=queue)
    await add_worker(shared_api, "w1", "served")

    for api in (ada, root):
        assert [queue["name"] for queue in (await get(api, "/queues"))["items"]] == ["a", "served"]


async def test_scaling_counts_the_running_jobs_of_its_queue_however_many_run_elsewhere(
    ada: Api, root: Api, shared_api: SharedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MIN_DUE", 2)
    monkeypatch.setattr(queues, "_COUNTED_WORKERS", 2)
    for job in [*await submit(ada, 3, queue="a"), *await submit(ada, 1, queue="z")]:
        await run(shared_api, job, "w1")

    assert [(await get(root, f"/queues/{name}/scaling", slots=1))["running"] for name in "az"] == [3, 1]


async def test_scaling_counts_due_and_running_jobs_and_is_zero_for_an_unknown_queue(
    ada: Api, root: Api, shared_api: SharedApi
) -> None:
    jobs = await submit(ada, 5, queue="mail")
    await submit(ada, 2, queue="mail", run_at=LATER)
    await run(shared_api, jobs[0], "w1")

    mail, unknown = await get(root, "/queues/mail/scaling", slots=2), await get(root, "/queues/no/scaling")

    assert mail.pop("oldest_due_seconds") >= 0
    assert mail == {
        "value": 3,
        "due": 4,
        "due_soon": 0,
        "running": 1,
        "gated": 0,
        "slots_per_worker": 2,
        "wanted_workers": 3,
    }
    assert {unknown[name] for name in unknown if name != "slots_per_worker"} == {0}
    for slots in ("0", "10001", "x"):
        refused = await root.http.get(f"{BASE}/queues/mail/scaling?slots={slots}")
        assert refused.status_code == 422


async def test_workers_show_only_jobs_that_the_caller_may_see(
    ada: Api, bob: Api, root: Api, shared_api: SharedApi
) -> None:
    (of_ada,), (of_bob,) = await submit(ada), await submit(bob)
    await add_worker(shared_api, "w1", "default", "mail")
    for job in (of_ada, of_bob):
        await run(shared_api, job, "w1")

    async def running(api: Api) -> list[str]:
        (worker,) = (await get(api, "/workers"))["items"]
        assert (worker["id"], worker["queues"], worker["concurrency"]) == ("w1", ["default", "mail"], 50)
        assert worker["started_at"] <= datetime.now(UTC).isoformat()
        return [str(UUID(job)) for job in worker["running"]]

    assert await running(ada) == [of_ada]
    assert await running(bob) == [of_bob]
    assert await running(root) == sorted([of_ada, of_bob])


async def test_a_key_with_metrics_read_sees_numbers_of_all_users_and_none_of_their_jobs(
    ada: Api, root: Api, shared_api: SharedApi
) -> None:
    (job,) = await submit(ada)
    await add_worker(shared_api, "w1", "default")
    await run(shared_api, job, "w1")

    async def key(api: Api, *scopes: str) -> dict[str, str]:
        body = {"name": "of a test", "scopes": list(scopes)}
        response = await api.http.post(f"{BASE}/api-keys", json=body)
        assert response.status_code == 201, response.text
        return {"Authorization": f"Bearer {response.json()['key']}", "X-Forwarded-Preferred-Username": ""}

    metrics = await key(root, "metrics:read")
    reader = await key(root, "metrics:read", "jobs:read")
    refused = await ada.http.post(f"{BASE}/api-keys", json={"name": "a", "scopes": ["metrics:read"]})

    async def ask(headers: dict[str, str], path: str) -> tuple[int, dict[str, Any]]:
        response = await shared_api.api.http.get(BASE + path, headers=headers)
        return response.status_code, response.json()

    assert refused.status_code == 403
    assert (await ask(metrics, "/queues/default/scaling"))[1]["running"] == 1
    assert (await ask(metrics, "/jobs"))[0] == (await ask(metrics, "/stats"))[0] == 403
    assert (await ask(reader, "/stats"))[1]["counts"]["running"] == 1
    assert [worker["running"] for worker in (await ask(reader, "/workers"))[1]["items"]] == [[]]
    assert (await ask(reader, "/jobs"))[1]["items"] == []
    assert (await ada.http.get(f"{BASE}/queues/default/scaling")).status_code == 403
