"""GraphQL over HTTP: responses, their cost in SQL statements, and refusals."""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import event, text

from headrace.adapters.database import StatementPool
from headrace.adapters.servers import Servers
from headrace.api.graphql.transaction import ReadTransaction
from headrace.domain.accounts.reach import Reach
from headrace.domain.database import Row
from headrace.domain.read_model.repository import ReadRepository
from headrace.settings import Settings
from support.harness import Api, new_database, register_pipelines, serving
from support.users import behind_proxy, named

DOCS: Final = Path(__file__).parents[2] / "docs"
NESTED: Final = """
{ jobs(limit: 20, filters: {pipeline: "ticks"}) {
    id state params meta progress priority queue createdAt presetId
    owner { id username } tags { id name } pipeline { name version steps { name after } }
    steps(limit: 4) { name index state output } files { id name size sha256 }
} }
"""
ADD_WORK: Final = """
WITH those AS (SELECT id, owner_id FROM jobs WHERE pipeline = 'ticks'), made AS (
    INSERT INTO files (id, owner_id, job_id, step, name, media_type, size, sha256, created_at, updated_at)
    SELECT gen_random_uuid(), owner_id, id, 'tick', 'out-' || n, 'text/plain', 3000000000,
           decode(repeat('ab', 32), 'hex'), now() + n * interval '1 second', now()
    FROM those CROSS JOIN generate_series(1, 25) AS n
)
INSERT INTO step_runs (job_id, key, name, index, state, attempt, tries, items, output)
SELECT id, 'tick', 'tick', NULL::int, 'running', 1, 1, '[0, 1, 2]'::jsonb, NULL::jsonb FROM those
UNION ALL SELECT id, 'tick[0]', 'tick', 0, 'succeeded', 1, 1, NULL, '{"ticks": 7}' FROM those
"""

REFUSED: Final = [
    ("{" + "job{" * 10 + "id" + "}" * 11, "query_too_deep"),
    ("{me{" + " id" * 1996 + "}}", "too_many_tokens"),
    ("{" + " ".join(f"a{n}: jobs {{ id }}" for n in range(31)) + "}", "too_many_aliases"),
    ("{" + " ".join(f"a{n}: __typename" for n in range(600)) + "}", "too_many_aliases"),
    ("{" + " ".join(f"a{n}: __typename" for n in range(1000)) + "}", "too_many_tokens"),
    ("{ jobs(limit: 100) { steps(limit: 100) { name state } } }", "query_too_complex"),
    ("{" + " ".join(f"a{n}: jobs(limit: 100) {{ meta }}" for n in range(20)) + "}", "query_too_complex"),
    ("{" + " me{id}" * 490 + "}", "too_many_selections"),
    ("{ jobs { id ", "syntax_error"),
    ("{ jobs { id nothing } }", "validation_failed"),
    ("{ jobs { id } job(id: 7) { id } }", "validation_failed"),
    ("mutation { jobs { id } }", "validation_failed"),
    ("query a { jobs { id } } query b { jobs { id } }", "validation_failed"),
]
ODD_ARGUMENTS: Final = [
    ("{ jobs(limit: 101) { id } }", "validation_failed"),
    ("{ jobs(limit: 0) { id } }", "validation_failed"),
    ("{ jobs(offset: -1) { id } }", "validation_failed"),
    ('{ jobs(filters: {createdAfter: "2026-01-01T00:00:00"}) { id } }', "validation_failed"),
    (f'{{ pipeline(name: "{"x" * 65}") {{ name }} }}', "validation_failed"),
    ('{ jobs(filters: {search: "\\u0000"}) { id } }', "nul_character"),
]
INVALID_REQUESTS: Final = [
    ("GET", None, "application/json", 405),
    ("PUT", b"{}", "application/json", 405),
    ("POST", b'[{"query": "{me{id}}"}]', "application/json", 422),
    ("POST", b'{"query": "{me{id}}", "more": 1}', "application/json", 422),
    ("POST", b'{"query": ""}', "application/json", 422),
    ("POST", b'{"query": "{me', "application/json", 400),
    ("POST", b'{"query": "query a{me{id}}", "operationName": "b"}', "application/json", 400),
    ("POST", b"query={me{id}}", "application/x-www-form-urlencoded", 415),
    ("POST", b"{me{id}}", "application/graphql", 415),
]


async def ask(api: Api, query: str, headers: dict[str, str] | None = None, **variables: Any) -> Any:
    response = await api.http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def codes(response: Any) -> list[str]:
    return [error["extensions"]["code"] for error in response["errors"]]


@contextmanager
def statements(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record the SQL statements of the API, through its engine and through its pools."""
    executed: list[str] = []
    fetch = StatementPool.fetch
    services = api.app.state.services

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        executed.append(statement)

    async def noting(pool: StatementPool, statement: str, *arguments: Any) -> Sequence[Row]:
        if pool in (services.pool, services.submit_pool):
            executed.append(statement)
        return await fetch(pool, statement, *arguments)

    engine = services.read_engine.sync_engine
    monkeypatch.setattr(StatementPool, "fetch", noting)
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield executed
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.fixture(scope="module")
async def settings(
    servers: Servers, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Settings]:
    """Settings of one service that all tests of the module share; most of them change nothing."""
    async with new_database(str(servers.database_url), template) as url:
        yield Settings(
            database_url=url, redis_url=servers.redis_url, data_dir=tmp_path_factory.mktemp("graph")
        )


@pytest.fixture(scope="module")
async def database(settings: Settings) -> AsyncIterator[StatementPool]:
    pool = await StatementPool.open(str(settings.database_url))
    yield pool
    await pool.close()


@pytest.fixture(scope="module")
async def api(settings: Settings) -> AsyncIterator[Api]:
    """An API without workers; the bundled pipelines and the caller are registered."""
    await register_pipelines(settings)
    async with serving(settings) as running:
        await ask(running, "{ me { id } }")
        yield running


@pytest.fixture(scope="module")
async def filled(api: Api, database: StatementPool) -> Api:
    """The API with 60 jobs that have tags, steps and files."""
    job = {"pipeline": "ticks", "params": {"steps": 3}, "tags": ["b", "a"], "meta": {"n": 1}}
    response = await api.http.post("/api/v1/jobs/batch", json={"jobs": [job] * 60})
    assert response.status_code == 202
    await database.fetch(ADD_WORK)
    return api


def snake(name: str) -> str:
    return re.sub("[A-Z]", lambda big: "_" + big[0].lower(), name)


async def test_a_nested_page_takes_four_statements_and_its_filter_another(
    filled: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    with statements(filled, monkeypatch) as executed:
        response = await ask(filled, NESTED)

    assert len(executed) <= 5, executed
    assert "errors" not in response
    jobs = response["data"]["jobs"]
    assert len({job["id"] for job in jobs}) == 20
    job = jobs[7]
    assert (job["state"], job["params"], job["meta"]) == ("queued", {"steps": 3}, {"n": 1})
    assert job["owner"]["username"] == "dev"
    assert [tag["name"] for tag in job["tags"]] == ["a", "b"]
    assert job["pipeline"]["steps"][1] == {"name": "total", "after": ["tick"]}
    assert [(step["name"], step["index"], step["state"]) for step in job["steps"]] == [
        ("tick", 0, "succeeded"),
        ("tick", 1, "pending"),
        ("tick", 2, "pending"),
        ("total", None, "pending"),
    ]
    assert job["steps"][0]["output"] == {"ticks": 7}
    assert [file["name"] for file in job["files"]] == [f"out-{n}" for n in range(1, 21)]
    assert (job["files"][0]["size"], job["files"][0]["sha256"]) == (3_000_000_000, "ab" * 32)


async def test_a_job_has_the_same_fields_in_graphql_and_rest(filled: Api) -> None:
    job_id = (await ask(filled, '{ jobs(limit: 1, filters: {pipeline: "ticks"}) { id } }'))["data"]["jobs"][
        0
    ]["id"]
    query = """query one($id: UUID!) { job(id: $id) { id version state waitingFor params result progress
      attempt maxAttempts timeoutSeconds priority queue runAt createdAt startedAt finishedAt cancelRequestedAt
      eventSeq meta presetId pipelineName tags { name } error { code message step } } }"""

    job = (await ask(filled, query, id=job_id))["data"]["job"]

    job |= {"pipeline": job.pop("pipelineName"), "tags": [tag["name"] for tag in job["tags"]]}
    same = {snake(name): value for name, value in job.items()}
    same |= {
        name: value.replace("+00:00", "Z") for name, value in same.items() if name.endswith("_at") and value
    }
    view = await filled.job(job_id)
    assert same == {name: view[name] for name in same}
    assert len(same) >= 23


async def test_a_query_of_many_fields_batches_its_statements(
    filled: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [job["id"] for job in (await ask(filled, "{ jobs(limit: 20) { id } }"))["data"]["jobs"]]
    several = " ".join(
        f'j{place}: job(id: "{job_id}") {{ id files(limit: 1) {{ name }} }}'
        for place, job_id in enumerate(ids)
    )

    with statements(filled, monkeypatch) as executed:
        response = await ask(
            filled,
            "{"
            + several
            + ' pipelines { name } pipeline(name: "noop") { version } tags { name } presets { id }'
            ' jobs(filters: {state: queued, pipeline: "ticks"}) { waitingFor } me { username } }',
        )

    assert "errors" not in response
    assert [response["data"][f"j{place}"]["id"] for place in range(20)] == ids
    assert {pipeline["name"] for pipeline in response["data"]["pipelines"]} >= {"noop", "ticks"}
    assert {job["waitingFor"] for job in response["data"]["jobs"]} == {"no_worker"}
    # jobs by id, their files, pipelines, a pipeline, tags, presets, jobs, and two for the waiting reasons
    assert len(executed) <= 9, executed


async def test_a_misspelt_pipeline_is_null_and_the_nearest_name_is_noted(filled: Api) -> None:
    names = {"a": "tiks", "ticks": "ticks", "b": "q"}
    fields = " ".join(f'{alias}: pipeline(name: "{name}") {{ name }}' for alias, name in names.items())

    response = await ask(filled, f"{{ {fields} }}")

    assert response["data"] == {"a": None, "ticks": {"name": "ticks"}, "b": None}
    assert response["extensions"] == {"didYouMean": {"a": "ticks"}}


async def test_only_the_first_misspelt_pipelines_of_a_query_are_advised(filled: Api) -> None:
    fields = " ".join(f'p{number}: pipeline(name: "tick{number}") {{ name }}' for number in range(9))

    response = await ask(filled, f"{{ {fields} }}")

    assert set(response["data"].values()) == {None}
    assert set(response["extensions"]["didYouMean"].values()) == {"ticks"}
    assert len(response["extensions"]["didYouMean"]) == 3


async def test_loaders_cache_nothing_across_requests(filled: Api, database: StatementPool) -> None:
    ids = (await ask(filled, '{ jobs(limit: 1, offset: 55, filters: {tag: "a"}) { id } }'))["data"]["jobs"]
    query = "query one($id: UUID!) { job(id: $id) { meta tags { name } files(limit: 1) { name } } }"
    before = (await ask(filled, query, **ids[0]))["data"]["job"]
    await database.fetch("UPDATE jobs SET meta = '{\"n\": 2}' WHERE id = $1", ids[0]["id"])
    await database.fetch("DELETE FROM files WHERE job_id = $1", ids[0]["id"])
    await database.fetch("DELETE FROM job_tags WHERE job_id = $1", ids[0]["id"])

    after = (await ask(filled, query, **ids[0]))["data"]["job"]

    assert before == {"meta": {"n": 1}, "tags": [{"name": "a"}, {"name": "b"}], "files": [{"name": "out-1"}]}
    assert after == {"meta": {"n": 2}, "tags": [], "files": []}


async def test_jobs_can_be_filtered_searched_and_paged(api: Api) -> None:
    for place in range(3):
        await api.submit("flaky", tags=["odd"] if place % 2 else [], meta={"note": f"{place}% done"})

    filtered = await ask(api, '{ jobs(filters: {tag: "odd", state: queued}) { meta } }')
    searched = await ask(api, '{ jobs(filters: {pipeline: "flaky", search: "2%"}) { meta } }')
    paged = await ask(api, '{ jobs(filters: {pipeline: "flaky"}, limit: 2, offset: 1) { meta } }')
    late = await ask(api, '{ jobs(filters: {createdAfter: "2100-01-01T00:00:00Z"}) { meta } }')

    assert filtered["data"]["jobs"] == [{"meta": {"note": "1% done"}}]
    assert searched["data"]["jobs"] == [{"meta": {"note": "2% done"}}]
    assert [job["meta"]["note"] for job in paged["data"]["jobs"]] == ["1% done", "0% done"]
    assert late["data"]["jobs"] == []


async def test_refused_queries_execute_no_sql(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await ask(api, "{ me { id } }")

    with statements(api, monkeypatch) as executed:
        responses = [await ask(api, query) for query, _ in REFUSED]

    assert executed == []
    assert [codes(response) for response in responses] == [[code] for _, code in REFUSED]
    assert [response["data"] for response in responses] == [None] * len(REFUSED)


async def test_invalid_arguments_are_refused_by_name(api: Api) -> None:
    responses = [await ask(api, query) for query, _ in ODD_ARGUMENTS]

    assert [codes(response) for response in responses] == [[code] for _, code in ODD_ARGUMENTS]
    assert all("argument" in response["errors"][0]["extensions"] for response in responses)


async def test_internal_errors_reveal_only_an_incident_id(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def break_down(*_: Any) -> Any:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(ReadRepository, "fetch_tags", break_down)

    response = await api.http.post("/graphql", json={"query": "{ me { username } tags { name } }"})

    (error,) = response.json()["errors"]
    assert error["message"] == "internal error"
    assert error["extensions"]["code"] == "internal_error"
    assert "hunter2" not in response.text
    assert error["extensions"]["incident"] in caplog.text
    assert "hunter2" in caplog.text


async def test_an_unavailable_database_is_reported(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def be_away(*_: Any) -> Any:
        raise asyncpg.CannotConnectNowError("starting")

    monkeypatch.setattr(ReadRepository, "fetch_tags", be_away)

    response = await ask(api, "{ tags { name } }")

    assert codes(response) == ["database_unavailable"]


async def test_queries_run_in_a_read_only_transaction(api: Api) -> None:
    reads = ReadTransaction(api.app.state.services.sessions, Reach(None))

    with pytest.raises(Exception, match="PostgreSQL is read-only"):
        await reads.run(lambda repository: repository.session.execute(text("DELETE FROM jobs")))
    with pytest.raises(Exception, match="PostgreSQL is read-only"):
        await reads.run(lambda repository: repository.fetch_tags(1, 0))
    await reads.end()


async def test_invalid_requests_get_problem_responses(api: Api) -> None:
    for method, body, kind, status in INVALID_REQUESTS:
        response = await api.http.request(method, "/graphql", content=body, headers={"content-type": kind})

        assert response.status_code == status, body
        assert response.headers["content-type"] == "application/problem+json"


async def test_requests_from_foreign_origins_are_refused(api: Api) -> None:
    response = await api.http.post(
        "/graphql", json={"query": "{ me { id } }"}, headers={"origin": "https://stranger.example"}
    )

    assert (response.status_code, response.json()["code"]) == (403, "origin_refused")


async def test_users_see_only_objects_within_their_reach(
    api: Api, settings: Settings, database: StatementPool
) -> None:
    query = """query one($id: UUID!) {
        job(id: $id) { id owner { username } } jobs { id } tags { name } presets { title }
    }"""
    async with serving(behind_proxy(settings)) as shared:
        sent = {"pipeline": "noop", "tags": ["hers"]}
        job = (await shared.http.post("/api/v1/jobs", json=sent, headers=named("ada"))).json()
        await database.fetch(
            "INSERT INTO presets (id, owner_id, title, pipeline, params, created_at, updated_at)"
            " SELECT $1, id, 'loud', 'gone', '{}', now(), now() FROM users WHERE username = 'ada'",
            uuid4(),
        )
        hers = await ask(shared, query, named("ada"), id=job["id"])
        his = await ask(shared, query, named("bob"), id=job["id"])
        missing = await ask(shared, query, named("bob"), id=str(uuid4()))
        roots = await ask(shared, query, named("root"), id=job["id"])
        anonymous = await shared.http.post("/graphql", json={"query": "{ me { id } }"})
        preset = await ask(
            shared, "{ presets { pipelineName pipeline { name } owner { username } } }", named("ada")
        )

    seen = {"id": job["id"], "owner": {"username": "ada"}}
    everything: dict[str, Any] = {
        "job": seen,
        "jobs": [{"id": job["id"]}],
        "tags": [{"name": "hers"}],
        "presets": [{"title": "loud"}],
    }
    assert hers == {"data": everything}
    assert roots["data"]["job"] == seen
    assert all(everything[name][0] in roots["data"][name] for name in ("jobs", "tags", "presets"))
    assert his == missing == {"data": {"job": None, "jobs": [], "tags": [], "presets": []}}
    assert (anonymous.status_code, anonymous.json()["code"]) == (401, "token_missing")
    assert preset["data"]["presets"] == [
        {"pipelineName": "gone", "pipeline": None, "owner": {"username": "ada"}}
    ]


async def test_job_tokens_cannot_query_graphql(api: Api) -> None:
    job = await api.submit("noop", run_at="2100-01-01T00:00:00Z")
    now = datetime.now(UTC)
    token = api.app.state.services.tokens.issue_job(
        UUID(job["id"]), "read", now=now, until=now + timedelta(minutes=5)
    )
    headers = {"Authorization": f"Bearer {token}"}

    response = await api.http.post("/graphql", json={"query": "{ me { id } }"}, headers=headers)

    assert (await api.http.get(f"/api/v1/jobs/{job['id']}", headers=headers)).status_code == 200
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")


async def test_introspection_is_disabled_in_production(api: Api, settings: Settings) -> None:
    introspection = "{ __schema { types { name } } }"
    local = await ask(api, introspection)
    async with serving(behind_proxy(settings, env="production")) as shared:
        refused = await ask(shared, introspection, named("ada"))
        misspelt = await ask(shared, "{ job { id } }", named("ada"))
        answered = await ask(shared, "{ me { username __typename } }", named("ada"))
        page = await shared.http.get("/graphql/explore")

    assert "Job" in [kind["name"] for kind in local["data"]["__schema"]["types"]]
    assert set(codes(refused)) == {"validation_failed"}
    assert "Did you mean" not in str(misspelt)
    assert answered["data"]["me"] == {"username": "ada", "__typename": "Me"}
    assert page.status_code in (401, 404)


async def test_the_explorer_loads_only_the_services_own_assets(api: Api) -> None:
    page = await api.http.get("/graphql/explore")
    loaded = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page.text)

    assert page.headers["content-type"].startswith("text/html")
    assert "'unsafe-" not in page.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]* src=)|<style| on[a-z]+=", page.text)
    assert len(loaded) == 6
    for path in loaded:
        assert path.startswith("/graphql/explore/")
        assert (await api.http.get(path)).status_code == 200


async def test_the_query_in_the_docs_works(filled: Api) -> None:
    page = (DOCS / "graphql.md").read_text()
    (query,) = re.findall(r"```graphql\n(.*?)```", page, re.DOTALL)

    response = await ask(filled, query.replace("nightly", "a"), state="queued", limit=3)

    assert "errors" not in response
    assert len(response["data"]["jobs"]) == 3
    assert response["data"]["jobs"][0]["owner"] == {"username": "dev"}
