"""Which pipelines live workers serve, and removing those that nobody serves."""

import asyncio
from typing import Any

import pytest
from click.testing import CliRunner

from headrace.adapters.database import StatementPool
from headrace.cli.pipeline_commands import pipelines
from headrace.cli.up import fetch_pipeline_names
from headrace.domain.pipelines.removals import delete_removed
from headrace.settings import Settings
from support.harness import Api, working
from support.shared_api import problem

URL = "/api/v1/pipelines"


async def serve(database: StatementPool, *pipelines: str, seconds_ago: int = 0) -> None:
    """Store a live worker, or one that was last seen some time ago."""
    await database.fetch(
        "INSERT INTO workers (id, queues, pipelines, concurrency, started_at, last_seen_at)"
        " VALUES ('w-1', '{default}', $1, 1, now(), now() - make_interval(secs => $2))",
        list(pipelines),
        seconds_ago,
    )


async def add_version(database: StatementPool, name: str, version: int) -> None:
    await database.fetch(
        "INSERT INTO pipelines (id, name, version, description, graph, params_schema, created_at, updated_at)"
        " SELECT gen_random_uuid(), name, $2, description, graph, params_schema, now(), now()"
        " FROM pipelines WHERE name = $1 AND version = 1",
        name,
        version,
    )


async def listed(api: Api) -> dict[str, tuple[int, bool]]:
    items: list[dict[str, Any]] = (await api.http.get(URL)).json()["items"]
    return {item["name"]: (item["version"], item["served"]) for item in items}


async def end_all_jobs(database: StatementPool) -> None:
    await database.fetch("UPDATE jobs SET state = 'failed', finished_at = statement_timestamp()")


@pytest.fixture(autouse=True)
async def no_workers(api: Api, database: StatementPool) -> None:
    await database.fetch("DELETE FROM workers")


async def test_lists_say_what_live_workers_serve(api: Api, database: StatementPool) -> None:
    await serve(database, "noop@1", "ticks@2")
    await add_version(database, "ticks", 2)
    await add_version(database, "noop", 2)

    items = await listed(api)
    shown = (await api.http.get(f"{URL}/ticks")).json()
    query = {"query": '{ pipelines { name served } pipeline(name: "ticks") { served } }'}
    graph = (await api.http.post("/graphql", json=query)).json()["data"]

    assert {name: items[name] for name in ("noop", "ticks", "flaky")} == {
        "noop": (2, False),
        "ticks": (2, True),
        "flaky": (1, False),
    }
    assert shown["served"] is True
    assert {row["name"]: row["served"] for row in graph["pipelines"]} == {
        name: served for name, (_, served) in items.items()
    }
    assert graph["pipeline"] == {"served": True}


async def test_up_names_what_is_served_and_what_is_not(
    api: Api, database: StatementPool, settings: Settings
) -> None:
    await serve(database, "noop@1", "ticks@1")
    await add_version(database, "ticks", 2)
    await api.http.delete(f"{URL}/shootout")

    names = await fetch_pipeline_names(str(settings.database_url))

    assert names == (["noop", "ticks"], ["crunch", "flaky"])


async def test_a_worker_that_vanished_serves_nothing(api: Api, database: StatementPool) -> None:
    await serve(database, "noop@1", seconds_ago=21)

    assert (await listed(api))["noop"] == (1, False)


async def test_a_real_worker_serves_its_pipelines_until_it_stops(own_api: Api, settings: Settings) -> None:
    async with working(settings):
        job = await own_api.submit("noop")
        await own_api.finish(job["id"])
        during = await listed(own_api)
    after = await listed(own_api)

    assert {served for _, served in during.values()} == {True}
    assert {served for _, served in after.values()} == {False}


async def test_the_command_line_lists_and_removes_what_nobody_serves(
    api: Api, database: StatementPool
) -> None:
    await add_version(database, "flaky", 2)
    await serve(database, "noop@1")

    def run(*arguments: str) -> str:
        environment = {"HEADRACE_URL": str(api.http.base_url)}
        result = CliRunner(env=environment).invoke(pipelines, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    before = await asyncio.to_thread(run)
    removed = [await asyncio.to_thread(run, "--remove", name) for name in ("flaky@2", "crunch")]
    after = await asyncio.to_thread(run)

    assert removed == ["removed flaky@2\n", "removed crunch\n"]
    assert [line.split()[:3] for line in before.splitlines()[1:4]] == [
        ["crunch", "1", "no"],
        ["flaky", "2", "no"],
        ["noop", "1", "yes"],
    ]
    assert [line.split()[:3] for line in after.splitlines()[1:3]] == [
        ["flaky", "1", "no"],
        ["noop", "1", "yes"],
    ]


async def test_a_removed_pipeline_is_not_listed_and_takes_no_jobs(api: Api) -> None:
    await api.submit("noop")  # the API knows the pipeline
    removed = await api.http.delete(f"{URL}/flaky")

    assert (removed.status_code, removed.content) == (204, b"")
    assert "flaky" not in await listed(api)
    problem(await api.http.get(f"{URL}/flaky"), 404, "pipeline_not_found")
    problem(await api.http.delete(f"{URL}/flaky"), 404, "pipeline_not_found")
    preset = {"title": "one", "pipeline": "flaky", "params": {}}
    problem(await api.http.post("/api/v1/presets", json=preset), 422, "pipeline_unknown")
    for version in ({}, {"version": 1}):
        refused = await api.http.post("/api/v1/jobs", json={"pipeline": "flaky", "params": {}} | version)
        problem(refused, 422, "pipeline_unknown")


async def test_an_api_that_still_knows_a_removed_pipeline_stores_no_job_of_it(
    api: Api, database: StatementPool
) -> None:
    job = await api.submit("noop")
    await end_all_jobs(database)
    assert (await api.http.delete(f"{URL}/noop")).status_code == 204

    problem(await api.http.post("/api/v1/jobs", json={"pipeline": "noop"}), 422, "pipeline_unknown")
    assert [row["id"] for row in await database.fetch("SELECT id::text AS id FROM jobs")] == [job["id"]]


async def test_jobs_of_the_past_stay_readable(api: Api, database: StatementPool) -> None:
    job = await api.submit("ticks", params={"count": 1})
    await end_all_jobs(database)

    assert (await api.http.delete(f"{URL}/ticks")).status_code == 204

    assert (await api.job(job["id"]))["pipeline"] == "ticks"
    assert (await api.http.get("/api/v1/jobs", params={"include": "steps"})).json()["total"] == 1
    steps = (await api.http.get(f"/api/v1/jobs/{job['id']}/steps")).json()["items"]
    query = {"query": "{ jobs { id pipeline { name version } steps { name } } }"}
    graph = (await api.http.post("/graphql", json=query)).json()["data"]["jobs"]
    assert [step["name"] for step in steps] == ["tick", "total"]
    assert graph == [
        {
            "id": job["id"],
            "pipeline": {"name": "ticks", "version": 1},
            "steps": [{"name": step["name"]} for step in steps],
        }
    ]


async def test_one_version_is_removed_and_the_next_older_becomes_the_newest(
    api: Api, database: StatementPool
) -> None:
    await add_version(database, "noop", 2)
    assert (await api.submit("noop"))["version"] == 2
    await end_all_jobs(database)

    assert (await api.http.delete(f"{URL}/noop", params={"version": 2})).status_code == 204

    assert (await listed(api))["noop"] == (1, False)
    assert (await api.submit("noop"))["version"] == 1
    query = {"query": '{ jobs { version pipeline { version } } pipeline(name: "noop") { version } }'}
    graph = (await api.http.post("/graphql", json=query)).json()["data"]
    assert graph["pipeline"] == {"version": 1}
    assert sorted(job["version"] for job in graph["jobs"]) == [1, 2]


async def test_a_served_pipeline_is_not_removed(api: Api, database: StatementPool) -> None:
    await add_version(database, "noop", 2)
    await serve(database, "noop@1")

    refused = problem(await api.http.delete(f"{URL}/noop"), 409, "pipeline_in_use")

    assert refused["detail"] == "pipeline noop@1 is in use: the live worker w-1 serves it"
    assert (await listed(api))["noop"] == (2, False)
    assert (await api.http.delete(f"{URL}/noop", params={"version": 2})).status_code == 204
    assert (await listed(api))["noop"] == (1, True)


@pytest.mark.parametrize("state", ["queued", "running"])
async def test_a_pipeline_with_an_unfinished_job_is_not_removed(
    api: Api, database: StatementPool, state: str
) -> None:
    await api.submit("noop")
    if state == "running":
        await database.fetch(
            "UPDATE jobs SET state = 'running', lease_owner = 'w',"
            " lease_expires_at = now() + interval '1 hour'"
        )

    refused = problem(await api.http.delete(f"{URL}/noop"), 409, "pipeline_in_use")

    assert refused["detail"] == ("pipeline noop@1 is in use: a job of it has not ended; cancel it or wait")


@pytest.mark.parametrize("version", ["0", "x", "", "null", str(2**31)])
async def test_a_version_that_cannot_exist_is_refused(api: Api, version: str) -> None:
    problem(await api.http.delete(f"{URL}/noop", params={"version": version}), 422, "validation_failed")

    assert "noop" in await listed(api)


async def test_rows_go_an_hour_later_unless_jobs_name_them(api: Api, database: StatementPool) -> None:
    await api.submit("noop")
    await end_all_jobs(database)
    for name in ("noop", "flaky", "ticks"):
        assert (await api.http.delete(f"{URL}/{name}")).status_code == 204
    await database.fetch(
        "UPDATE pipelines SET removed_at = removed_at - interval '61 minutes' WHERE name <> 'ticks'"
    )

    await delete_removed(database)

    names = {row["name"] for row in await database.fetch("SELECT name FROM pipelines")}
    assert names & {"noop", "flaky", "ticks"} == {"noop", "ticks"}
