"""Jobs over REST: accepted requests, refused requests, and their problem responses."""

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from headrace.adapters.database import StatementPool
from headrace.domain.json_limits import MAX_JSON_BYTES
from headrace.domain.pipelines.schemas import type_schema
from support.harness import Api

UNKNOWN = "01a1fccd-6b98-76e1-8951-c578b7c6189f"


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """Assert that the response is a well-formed problem, and return its body."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/problem+json")
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "code", "instance"} <= body.keys()
    assert (body["status"], body["code"]) == (status, code)
    return body


async def test_a_submission_returns_the_job_and_its_location(api: Api) -> None:
    body = {
        "pipeline": "noop",
        "tags": ["b", "a", "b"],
        "meta": {"who": "ada"},
        "priority": 9,
        "queue": "fast",
    }

    response = await api.http.post("/api/v1/jobs", json=body)

    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert (job["state"], job["tags"], job["meta"], job["queue"]) == (
        "queued",
        ["a", "b"],
        {"who": "ada"},
        "fast",
    )
    assert (await api.http.get(response.headers["location"])).json() == job


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$"),
        ({"pipeline": 1}, "$.pipeline"),
        ({"pipeline": "Noop"}, "$.pipeline"),
        ({"pipeline": "x" * 65}, "$.pipeline"),
        ({"pipeline": "noop", "colour": "red"}, "$.colour"),
        ({"pipeline": "noop", "params": []}, "$.params"),
        ({"pipeline": "noop", "priority": 10}, "$.priority"),
        ({"pipeline": "noop", "priority": 5.5}, "$.priority"),
        ({"pipeline": "noop", "version": 0}, "$.version"),
        ({"pipeline": "noop", "version": 2**40}, "$.version"),
        ({"pipeline": "noop", "version": 2}, "$.version"),
        ({"pipeline": "nowhere"}, "$.pipeline"),
        ({"pipeline": "noop", "run_at": "tomorrow"}, "$.run_at"),
        ({"pipeline": "noop", "run_at": "2026-11-21T10:00:00"}, "$.run_at"),
        ({"pipeline": "noop", "run_at": "0001-01-01T00:00:00+14:00"}, "$.run_at"),
        ({"pipeline": "noop", "run_at": "9999-12-31T23:59:59-14:00"}, "$.run_at"),
        ({"pipeline": "noop", "timeout_seconds": 0}, "$.timeout_seconds"),
        ({"pipeline": "noop", "max_attempts": 0}, "$.max_attempts"),
        ({"pipeline": "noop", "max_attempts": 2**70}, "$.max_attempts"),
        ({"pipeline": "noop", "queue": "no spaces"}, "$.queue"),
        ({"pipeline": "noop", "queue": "line\n"}, "$.queue"),
        ({"pipeline": "noop", "tags": ["line\n"]}, "$.tags[0]"),
        ({"pipeline": "noop", "tags": [""]}, "$.tags[0]"),
        ({"pipeline": "noop", "tags": ["x" * 65]}, "$.tags[0]"),
        ({"pipeline": "noop", "tags": ["x"] * 51}, "$.tags"),
        ({"pipeline": "noop", "params": {"unknown": 1}}, "$.params.unknown"),
        ({"pipeline": "ticks", "params": {"count": "many"}}, "$.params.count"),
        ({"pipeline": "ticks", "params": {"count": 2**80}}, "$.params.count"),
        ({"pipeline": "noop", "meta": {"a": {"b": ["x\0y"]}}}, "$"),
        ({"pipeline": "noop", "meta": {"a\0": 1}}, "$"),
    ],
)
async def test_invalid_submissions_are_refused_with_the_path_of_the_error(
    api: Api, body: Any, path: str
) -> None:
    response = await api.http.post("/api/v1/jobs", json=body)

    assert response.status_code == 422, response.text
    faults = problem(response, 422, response.json()["code"])["errors"]
    assert path in [fault["path"] for fault in faults]
    assert (await api.http.get("/api/v1/jobs")).json()["total"] == 0


async def test_all_errors_of_the_params_are_reported_at_once(api: Api) -> None:
    params = {"count": -1, "interval_ms": "x", "more": 1}

    response = await api.http.post("/api/v1/jobs", json={"pipeline": "ticks", "params": params})

    paths = [fault["path"] for fault in problem(response, 422, "params_invalid")["errors"]]
    assert sorted(paths) == ["$.params.count", "$.params.interval_ms", "$.params.more"]


async def test_values_that_a_worker_cannot_decode_are_refused_all_at_once(
    api: Api, database: StatementPool
) -> None:
    schema = type_schema(msgspec.defstruct("Order", [("due", datetime), ("price", Decimal), ("size", int)]))
    await database.fetch(
        "INSERT INTO pipelines (id, name, version, description, graph, params_schema, created_at, updated_at)"
        " VALUES (gen_random_uuid(), 'order', 1, '', '[]', $1::text::jsonb, now(), now())",
        msgspec.json.encode(schema).decode(),
    )
    params = {"due": "yesterday", "price": "abc", "size": 1.0}

    response = await api.http.post("/api/v1/jobs", json={"pipeline": "order", "params": params})

    faults = problem(response, 422, "params_invalid")["errors"]
    assert {fault["path"]: fault["message"] for fault in faults} == {
        "$.params.due": '"yesterday" is not a date-time such as 2030-01-02T03:04:05Z',
        "$.params.price": '"abc" is not a decimal number such as 12.34',
        "$.params.size": "1.0 is not written as a whole number such as 100",
    }
    assert (await api.http.get("/api/v1/jobs")).json()["total"] == 0


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "malformed"),
        (b"{", 400, "malformed"),
        (b"\xff\xfe", 400, "malformed"),
        (b'{"pipeline": "noop"} trailing', 400, "malformed"),
        (b'{"pipeline": "no\xffop"}', 400, "malformed"),
        (b'{"pipeline": "no\xffop\\u0000"}', 400, "malformed"),
        (b'{"pipeline": "noop", "meta": {"a": "\xed\xa0\x80"}}', 400, "malformed"),
        (b'{"pipeline": "\\ud800"}', 400, "malformed"),
        (b'{"pipeline": "noop", "params": {"a": NaN}}', 400, "malformed"),
        # So large a body is found to be too deep before anything is decoded.
        (b'{"pipeline": "noop", "params": ' + b'{"a":' * 100_000, 422, "nested_too_deep"),
        (b'{"pipeline": "noop", "params": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001, 400, "malformed"),
        (b"[]", 422, "validation_failed"),
        (b"null", 422, "validation_failed"),
        (b'{"pipeline": "noop", "meta": {"a": 1e999}}', 422, "validation_failed"),
        (b'{"pipeline": "noop", "meta": "' + b"x" * 10_000_000 + b'"}', 413, "body_too_large"),
    ],
)
async def test_malformed_and_too_large_bodies_are_refused(
    api: Api, content: bytes, status: int, code: str
) -> None:
    response = await api.http.post(
        "/api/v1/jobs", content=content, headers={"content-type": "application/json"}
    )

    problem(response, status, code)
    assert (await api.http.get("/api/v1/jobs")).json()["total"] == 0


@pytest.mark.parametrize(
    "number", ["9" * 30, "-" + "9" * 30, "1e308", "0.1" + "0" * 100 + "1", "9" * 5_000, "1" + "0" * 140_000]
)
async def test_extreme_numbers_are_accepted_or_refused(api: Api, number: str) -> None:
    content = f'{{"pipeline": "noop", "meta": {{"n": {number}}}}}'

    response = await api.http.post(
        "/api/v1/jobs", content=content, headers={"content-type": "application/json"}
    )

    assert response.status_code in (202, 400, 422), response.text
    listed = await api.http.get("/api/v1/jobs")
    assert listed.status_code == 200
    assert listed.json()["total"] == (1 if response.status_code == 202 else 0)


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("job_id", [UNKNOWN, "1", "not-a-uuid", "%00", UNKNOWN + "%00"])
async def test_an_unknown_job_is_not_found(api: Api, method: str, job_id: str) -> None:
    response = await api.http.request(
        method, f"/api/v1/jobs/{job_id}", json={} if method == "PATCH" else None
    )

    assert response.status_code in ((404, 422) if "%00" in job_id else (404, 405)), response.text
    assert response.headers["content-type"].startswith("application/problem+json")


@pytest.mark.parametrize("call", ["cancel", "retry", "steps", "events", "files", "stream"])
async def test_calls_on_an_unknown_job_return_404(api: Api, call: str) -> None:
    method = "POST" if call in ("cancel", "retry") else "GET"

    response = await api.http.request(method, f"/api/v1/jobs/{UNKNOWN}/{call}")

    problem(response, 404, "job_not_found")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "text/plain; a=b"])
async def test_content_types_that_foreign_pages_can_send_are_refused(api: Api, kind: str) -> None:
    response = await api.http.post(
        "/api/v1/jobs", content=b'{"pipeline":"noop"}', headers={"content-type": kind}
    )

    problem(response, 415, "unsupported_media_type")


async def test_wrong_methods_and_wrong_paths_return_problems(api: Api) -> None:
    problem(await api.http.put("/api/v1/jobs"), 405, "method_not_allowed")
    for path in ("/api/v1/nowhere", "/nowhere", "/metrics/nowhere", "/docs/nowhere"):
        problem(await api.http.get(path), 404, "not_found")
    problem(await api.http.get("/api/v1/pipelines/nowhere"), 404, "pipeline_not_found")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=1001",
        "limit=1000000000000000000000",
        "limit=x",
        "offset=-1",
        "offset=99999999999",
        "state=lost",
        "order_by=params",
        "order_by=__class__",
        "created_after=yesterday",
        "created_after=2026-01-01T00:00:00",
        "search=%00",
        "tag=" + "x" * 65,
    ],
)
async def test_invalid_list_queries_are_refused(api: Api, query: str) -> None:
    response = await api.http.get(f"/api/v1/jobs?{query}")

    assert response.status_code == 422, response.text
    name = query.partition("=")[0]
    assert [fault["path"] for fault in response.json()["errors"]] in ([f"query.{name}"], [name], ["query"])


async def test_the_error_for_an_unknown_state_lists_the_known_states(api: Api) -> None:
    response = await api.http.get("/api/v1/jobs?state=lost")

    assert "queued, running, succeeded, failed, cancelled" in response.json()["detail"]


async def test_lists_are_filtered_sorted_and_paged(api: Api) -> None:
    jobs = [
        await api.submit("noop", tags=["even"] if number % 2 == 0 else [], meta={"n": f"{number}%"})
        for number in range(7)
    ]

    async def ids(query: str) -> list[str]:
        return [job["id"] for job in (await api.http.get(f"/api/v1/jobs?{query}")).json()["items"]]

    in_order = [job["id"] for job in jobs]
    assert await ids("") == in_order[::-1]
    assert await ids("order_by=created_at") == in_order
    assert await ids("tag=even&order_by=created_at") == in_order[::2]
    assert await ids("search=3%25") == [in_order[3]]
    assert await ids("search=_%25") == []
    assert await ids("state=running") == []
    pages = [await ids(f"limit=3&offset={offset}") for offset in (0, 3, 6, 9)]
    assert [job_id for page in pages for job_id in page] == in_order[::-1]
    page = (await api.http.get("/api/v1/jobs?limit=2&offset=1")).json()
    assert (page["total"], page["limit"], page["offset"]) == (7, 2, 1)


async def test_patch_keeps_absent_fields_and_null_removes_a_key(api: Api) -> None:
    job = await api.submit("noop", tags=["a"], meta={"keep": 1, "drop": 2, "deep": {"x": 1, "y": 2}})
    url = f"/api/v1/jobs/{job['id']}"

    unchanged = (await api.http.patch(url, json={})).json()
    changed = (
        await api.http.patch(url, json={"meta": {"drop": None, "deep": {"x": 3}}, "tags": ["b"]})
    ).json()

    assert unchanged == job
    assert changed["meta"] == {"keep": 1, "deep": {"x": 3, "y": 2}}
    assert changed["tags"] == ["b"]
    assert (await api.http.get(url)).json() == changed
    problem(await api.http.patch(url, json={"state": "succeeded"}), 422, "validation_failed")


async def test_only_a_finished_job_can_be_deleted(api: Api) -> None:
    job = await api.submit("noop", tags=["kept"])
    url = f"/api/v1/jobs/{job['id']}"

    problem(await api.http.delete(url), 409, "job_not_final")
    await api.http.post(f"{url}/cancel")
    deleted = await api.http.delete(url)
    again = await api.http.delete(url)

    assert deleted.status_code == 204
    problem(again, 404, "job_not_found")


async def test_a_queued_job_cannot_be_retried(api: Api) -> None:
    job = await api.submit("noop")

    problem(await api.http.post(f"/api/v1/jobs/{job['id']}/retry"), 409, "illegal_transition")


async def test_a_batch_is_accepted_completely_or_not_at_all(api: Api) -> None:
    good, bad = {"pipeline": "noop"}, {"pipeline": "ticks", "params": {"count": 0}}

    accepted = await api.http.post("/api/v1/jobs/batch", json={"jobs": [good] * 1000})
    refused = await api.http.post("/api/v1/jobs/batch", json={"jobs": [good, bad, {"pipeline": "nowhere"}]})
    too_many = await api.http.post("/api/v1/jobs/batch", json={"jobs": [good] * 1001})
    none = await api.http.post("/api/v1/jobs/batch", json={"jobs": []})

    assert (accepted.status_code, len(accepted.json()["items"])) == (202, 1000)
    paths = [fault["path"] for fault in problem(refused, 422, "pipeline_unknown")["errors"]]
    assert paths == ["$.jobs[2].pipeline", "$.jobs[1].params.count"]
    problem(too_many, 422, "validation_failed")
    problem(none, 422, "validation_failed")
    assert (await api.http.get("/api/v1/jobs")).json()["total"] == 1000


async def test_too_large_params_and_meta_are_refused_with_their_path(api: Api) -> None:
    large = {"text": "x" * MAX_JSON_BYTES}
    good = {"pipeline": "noop", "meta": {"text": "x" * (MAX_JSON_BYTES - len('{"text":""}'))}}

    for name in ("params", "meta"):
        bad = {"pipeline": "noop", name: large}
        alone = await api.http.post("/api/v1/jobs", json=bad)
        among = await api.http.post("/api/v1/jobs/batch", json={"jobs": [good, good, bad]})

        for response, path in ((alone, f"$.{name}"), (among, f"$.jobs[2].{name}")):
            faults = problem(response, 422, "value_too_large")["errors"]
            assert [fault["path"] for fault in faults] == [path]
    assert (await api.http.get("/api/v1/jobs")).json()["total"] == 0
    assert (await api.http.post("/api/v1/jobs", json=good)).json()["meta"] == good["meta"]


async def test_a_job_is_pinned_and_unpinned(api: Api) -> None:
    job = await api.submit("noop")
    url = f"/api/v1/jobs/{job['id']}"

    pinned = (await api.http.patch(url, json={"keep": True})).json()
    unchanged = (await api.http.patch(url, json={"meta": {"a": 1}})).json()
    listed = (await api.http.get("/api/v1/jobs")).json()["items"][0]
    unpinned = (await api.http.patch(url, json={"keep": False})).json()

    assert [job["keep"], pinned["keep"], unchanged["keep"], listed["keep"], unpinned["keep"]] == [
        *(False, True, True, True, False)
    ]
    for value in (None, 0, 1, 2, "true", "maybe"):
        problem(await api.http.patch(url, json={"keep": value}), 422, "validation_failed")


async def test_patches_cannot_grow_meta_beyond_its_limit(api: Api) -> None:
    job = await api.submit("noop", run_at="2100-01-01T00:00:00Z")
    url = f"/api/v1/jobs/{job['id']}"
    patched = (await api.http.patch(url, json={"meta": {"a": "x" * (MAX_JSON_BYTES // 2)}})).json()

    refused = await api.http.patch(url, json={"tags": ["b"], "meta": {"b": "x" * (MAX_JSON_BYTES // 2)}})

    assert [fault["path"] for fault in problem(refused, 422, "value_too_large")["errors"]] == ["$.meta"]
    assert (await api.http.get(url)).json() == patched
    shrunk = await api.http.patch(url, json={"meta": {"a": None, "b": "x" * (MAX_JSON_BYTES // 2)}})
    assert list(shrunk.json()["meta"]) == ["b"]


async def test_concurrent_batches_with_the_same_tags_do_not_deadlock(api: Api) -> None:
    async def submit(turn: int) -> Any:
        names = [f"tag {(place * 7 + turn * 3) % 40}" for place in range(40)]
        jobs = [{"pipeline": "noop", "tags": names[place : place + 10]} for place in range(30)]
        return await api.http.post("/api/v1/jobs/batch", json={"jobs": jobs})

    responses = await asyncio.gather(*(submit(turn) for turn in range(8)))

    assert [response.status_code for response in responses] == [202] * 8
    assert all(len(job["tags"]) == 10 for response in responses for job in response.json()["items"])


async def test_a_repeated_idempotency_key_replays_the_first_response_exactly(api: Api) -> None:
    headers = {"Idempotency-Key": "order 1", "content-type": "application/json"}

    first = await api.http.post("/api/v1/jobs", content=b'{"pipeline":"noop","priority":3}', headers=headers)
    second = await api.http.post(
        "/api/v1/jobs", content=b'{ "priority": 3, "pipeline": "noop" }', headers=headers
    )
    other = await api.http.post("/api/v1/jobs", content=b'{"pipeline":"noop","priority":4}', headers=headers)

    assert (second.status_code, second.content) == (202, first.content)
    assert second.headers["idempotency-replayed"] == "true"
    assert second.headers["location"] == first.headers["location"]
    assert "idempotency-replayed" not in first.headers
    problem(other, 409, "idempotency_conflict")
    assert (await api.http.get("/api/v1/jobs")).json()["total"] == 1


async def test_a_submission_is_replayed_after_its_pipeline_became_stricter(
    api: Api, database: StatementPool
) -> None:
    headers = {"Idempotency-Key": "before the change"}
    first = await api.http.post("/api/v1/jobs", json={"pipeline": "noop"}, headers=headers)
    await database.fetch(
        "INSERT INTO pipelines (id, name, version, description, graph, params_schema, created_at, updated_at)"
        " SELECT gen_random_uuid(), name, 2, '', graph, '{\"required\": [\"size\"]}', now(), now()"
        " FROM pipelines WHERE name = 'noop'"
    )
    await asyncio.sleep(1.1)  # a cached pipeline may be up to a second old

    again = await api.http.post("/api/v1/jobs", json={"pipeline": "noop"}, headers=headers)
    fresh = await api.http.post("/api/v1/jobs", json={"pipeline": "noop", "tags": ["never"]})

    assert (again.status_code, again.content) == (202, first.content)
    problem(fresh, 422, "params_invalid")
    assert await database.fetch("SELECT 1 FROM tags") == []


async def test_a_hundred_concurrent_submissions_with_one_key_create_one_job(api: Api) -> None:
    key = {"Idempotency-Key": uuid4().hex}

    responses = await asyncio.gather(
        *(api.http.post("/api/v1/jobs", json={"pipeline": "noop"}, headers=key) for _ in range(100))
    )

    assert {response.status_code for response in responses} == {202}
    assert len({response.content for response in responses}) == 1
    assert (await api.http.get("/api/v1/jobs")).json()["total"] == 1


async def test_a_refused_submission_does_not_use_up_its_key(api: Api) -> None:
    key = {"Idempotency-Key": "again"}

    refused = await api.http.post("/api/v1/jobs", json={"pipeline": "nowhere"}, headers=key)
    accepted = await api.http.post("/api/v1/jobs", json={"pipeline": "noop"}, headers=key)

    assert (refused.status_code, accepted.status_code) == (422, 202)


@pytest.mark.parametrize("key", ["", "x" * 129])
async def test_an_invalid_idempotency_key_is_refused(api: Api, key: str) -> None:
    response = await api.http.post(
        "/api/v1/jobs", json={"pipeline": "noop"}, headers={"Idempotency-Key": key}
    )

    problem(response, 422, "validation_failed")


async def test_invalid_cursors_are_refused_by_events_and_stream(api: Api) -> None:
    job = await api.submit("noop")

    for call in ("events", "stream"):
        for after in ("2", "99999999999999999999", "-1", "x", "1.5"):
            response = await api.http.get(f"/api/v1/jobs/{job['id']}/{call}?after={after}")
            assert response.status_code == 422, (call, after, response.text)
    problem(await api.http.get(f"/api/v1/jobs/{job['id']}/events?after=2"), 422, "cursor_beyond_head")
    bad = await api.http.get(f"/api/v1/jobs/{job['id']}/stream", headers={"Last-Event-ID": "x"})
    assert bad.status_code == 422


async def test_the_stream_of_a_finished_job_at_its_head_is_204(api: Api) -> None:
    job = await api.submit("noop")
    await api.http.post(f"/api/v1/jobs/{job['id']}/cancel")

    at_head = await api.http.get(f"/api/v1/jobs/{job['id']}/stream", headers={"Last-Event-ID": "2"})
    before = await api.http.get(f"/api/v1/jobs/{job['id']}/stream?after=1")

    assert at_head.status_code == 204
    assert [line for line in before.text.splitlines() if line.startswith("id:")] == ["id: 2"]
    assert msgspec.json.decode(before.text.strip().splitlines()[-1][6:]) == {
        "type": "end",
        "state": "cancelled",
    }


async def test_responses_carry_a_request_id(api: Api) -> None:
    mine = await api.http.get("/health/live", headers={"X-Request-Id": "mine-1"})
    generated = await api.http.get("/api/v1/nowhere", headers={"X-Request-Id": "not an id"})

    assert mine.headers["x-request-id"] == "mine-1"
    assert len(generated.headers["x-request-id"]) == 32


async def test_the_contract_and_the_docs_page_need_no_network(api: Api) -> None:
    contract = (await api.http.get("/openapi.json")).json()
    sockets = (await api.http.get("/asyncapi.yaml")).text
    page = (await api.http.get("/docs")).text
    assets = [word.split('"')[0] for word in page.split('src="')[1:] + page.split('href="')[1:]]

    assert "address: /api/v1/jobs/{job_id}/ws" in sockets
    assert {"/api/v1/jobs", "/api/v1/jobs/batch", "/api/v1/files", "/health/ready"} <= contract[
        "paths"
    ].keys()
    assert "http" not in page.replace("https://spec", "")
    for asset in assets:
        if asset.startswith("/"):
            assert (await api.http.get(asset)).status_code == 200


async def test_every_successful_response_with_a_body_has_a_schema(api: Api) -> None:
    contract = (await api.http.get("/openapi.json")).json()

    bare = [
        f"{method} {path}"
        for path, calls in contract["paths"].items()
        for method, call in calls.items()
        for status, response in call["responses"].items()
        if status.startswith("2") and status != "204" and "content" not in response
    ]

    assert bare == []


async def test_readiness_reports_a_missing_worker(api: Api) -> None:
    response = await api.http.get("/health/ready")

    assert (response.status_code, response.json()) == (200, {"status": "degraded", "degraded": ["worker"]})


async def test_json_routes_refuse_multipart_bodies(api: Api) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}

    responses = [
        await api.http.post(path, content=b'{"pipeline":"noop"}', headers=headers)
        for path in ("/api/v1/jobs", "/api/v1/tags", "/graphql")
    ]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [
        (415, "unsupported_media_type")
    ] * 3
