"""Each request is bounded by its route before it is read, and its JSON by its cost before it is decoded."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
import websockets

from headrace.api.middleware.request_bodies import ANY_BODY, JOB_BODY, QUERY_BODY, SMALL_BODY, VALUE_BODY
from headrace.app import create_app
from headrace.settings import Settings
from support.harness import Api
from support.login_env import LoginEnv
from support.patience import PATIENCE_SECONDS

JSON = {"Content-Type": "application/json"}
URL = "/api/v1/jobs"
# The operations that take more than a few short texts.
LARGE = {
    "submitJob": JOB_BODY,
    "submitJobs": ANY_BODY,
    "patchJob": VALUE_BODY,
    "createPreset": VALUE_BODY,
    "replacePreset": VALUE_BODY,
    "patchPreset": VALUE_BODY,
    "submitPreset": VALUE_BODY,
    "patchFile": VALUE_BODY,
    "queryGraph": QUERY_BODY,
}


def test_only_these_operations_take_large_bodies(settings: Settings) -> None:
    limits = {
        handler.operation_id: handler.opt["max_body"]
        for route in create_app(settings).routes
        for handler in getattr(route, "route_handlers", ())
        if "max_body" in handler.opt
    }

    assert limits == LARGE


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/auth/refresh", SMALL_BODY),
        ("POST", "/auth/logout", SMALL_BODY),
        ("POST", "/api/v1/tags", SMALL_BODY),
        ("POST", f"{URL}/01900000-0000-7000-8000-000000000000/cancel", SMALL_BODY),
        ("PATCH", f"{URL}/01900000-0000-7000-8000-000000000000", VALUE_BODY),
        ("POST", "/graphql", QUERY_BODY),
        ("POST", URL, JOB_BODY),
        ("POST", f"{URL}/batch", None),
    ],
)
@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_larger_body_is_refused_with_the_limit(
    ada: Api, settings: Settings, method: str, path: str, limit: int | None, is_announced: bool
) -> None:
    limit = limit or settings.max_body_bytes
    body = b'"' + b"x" * limit + b'"'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    response = await ada.http.request(method, path, content=body if is_announced else chunks(), headers=JSON)

    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert str(limit) in response.json()["detail"]


@pytest.mark.parametrize("path", [URL, f"{URL}/batch", "/auth/refresh"])
async def test_slow_numbers_are_refused_before_they_are_decoded(
    ada: Api, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    decoded: list[bytes] = []
    monkeypatch.setattr("headrace.api.middleware.request_bodies.decode_json", decoded.append)
    count = 600 if path == "/auth/refresh" else 100_000

    response = await ada.http.post(path, content=b"[[[" + b"1e308," * count + b"1]]]", headers=JSON)

    assert (response.status_code, response.json()["code"]) == (422, "json_too_costly")
    assert decoded == []


async def test_a_large_batch_is_stored_as_it_was_sent(ada: Api) -> None:
    meta = {"points": [[index, 1.5] for index in range(200)], "name": 'a "quoted" [name]', "empty": [{}, []]}
    jobs = [{"pipeline": "noop", "meta": {**meta, "index": index}} for index in range(400)]

    response = await ada.http.post(f"{URL}/batch", json={"jobs": jobs})

    assert response.status_code == 202
    accepted = response.json()["items"]
    assert [job["meta"] for job in accepted] == [job["meta"] for job in jobs]
    stored = (await ada.http.get(f"{URL}/{accepted[-1]['id']}")).json()
    assert stored["meta"] == jobs[-1]["meta"]


async def test_the_largest_job_written_as_escapes_is_accepted(ada: Api) -> None:
    text = "é" * (VALUE_BODY // 8 - 100)
    body = {"pipeline": "noop", "meta": {"a": text}, "params": {}}

    response = await ada.http.post(URL, json=body)
    escaped = await ada.http.post(
        URL, content=msgspec.json.encode(body).replace("é".encode(), b"\\u00e9"), headers=JSON
    )

    assert (response.status_code, escaped.status_code) == (202, 202)
    assert escaped.json()["meta"] == {"a": text}


@pytest.mark.parametrize("query", ["a=" + "x" * 8_200, "a&" * 101], ids=["bytes", "parameters"])
async def test_a_query_that_is_too_large_is_refused(ada: Api, query: str) -> None:
    refused = [await ada.http.get(f"{path}?{query}") for path in (URL, "/auth/callback/none")]

    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [
        (414, "query_too_large"),
        (414, "query_too_large"),
    ]


async def test_a_socket_with_too_many_parameters_is_refused(ada: Api) -> None:
    query = "a&" * 101
    headers = {"X-Forwarded-Preferred-Username": "ada"}
    async with websockets.connect(f"{ada.ws}/api/v1/ws?{query}", additional_headers=headers) as socket:
        frame = msgspec.json.decode(await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS))
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS)
    assert (frame["type"], socket.close_code) == ("error", 4400)


async def test_a_cookie_of_backslashes_is_not_unquoted(
    login_env: LoginEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's `http.cookies` takes seconds for it, without a credential."""

    def fail(text: str) -> Any:
        raise AssertionError(text[:20])

    monkeypatch.setattr("litestar._parsers.unquote_cookie", fail)
    headers = {
        "Cookie": 'headrace_refresh="' + "\\" * 60_000 + '"',
        "Origin": str(login_env.api.http.base_url),
    }
    async with httpx.AsyncClient(base_url=login_env.api.http.base_url) as http:
        answers = [await http.post(path, headers=headers) for path in ("/auth/refresh", "/auth/logout")]

    assert [answer.status_code for answer in answers] == [401, 204]
