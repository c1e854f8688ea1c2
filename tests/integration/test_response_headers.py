"""Every response carries security headers and a request id, and reveals no internals."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import structlog
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed

from headrace.settings import Settings
from support.harness import Api, register_pipelines, serving
from support.patience import PATIENCE_SECONDS, open_socket

ALLOWED_ORIGIN, FOREIGN_ORIGIN = "https://app.example.com", "https://evil.example.com"
JOBS = "/api/v1/jobs"
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}


@pytest.fixture
def settings(module_database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(database_url=module_database_url, redis_url=redis_url, data_dir=tmp_path)


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    """An API without registered pipelines."""
    async with serving(settings) as running:
        yield running


@pytest.fixture
async def open_api(settings: Settings) -> AsyncIterator[Api]:
    """An API that allows one other origin."""
    async with serving(msgspec.structs.replace(settings, cors_origins=(ALLOWED_ORIGIN,))) as api:
        yield api


def assert_security_headers(
    response: httpx.Response, policy: str = "default-src 'none'; frame-ancestors 'none'"
) -> None:
    assert {name: response.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS, (
        response.request.url
    )
    assert response.headers["content-security-policy"] == policy
    assert response.headers["x-request-id"]
    assert len(response.headers.get_list("x-request-id")) == 1
    assert "strict-transport-security" not in response.headers


async def test_every_response_has_security_headers(api: Api, settings: Settings) -> None:
    await register_pipelines(settings)

    async def fail() -> None:
        raise ZeroDivisionError("inside of us")

    api.app.state.services.check_readiness = fail
    large = b'{"pipeline": "' + b"x" * settings.max_body_bytes + b'"}'
    json = {"Content-Type": "application/json"}
    calls: list[tuple[int, str, str, dict[str, Any]]] = [
        (200, "GET", JOBS, {}),
        (200, "GET", "/openapi.json", {}),
        (202, "POST", JOBS, {"json": {"pipeline": "noop"}}),
        (401, "GET", JOBS, {"headers": {"Authorization": "Bearer no"}}),
        (403, "GET", JOBS, {"headers": {"Host": "elsewhere.example.com"}}),
        (404, "GET", "/nowhere", {}),
        (404, "GET", "/api/v1/jobs/01a1ff6e-d7fc-74a9-b5f9-ab7b07d6d474", {}),
        (405, "PUT", JOBS, {}),
        (413, "POST", JOBS, {"content": large, "headers": json}),
        (415, "POST", JOBS, {"content": b"x", "headers": {"Content-Type": "text/plain"}}),
        (422, "POST", JOBS, {"json": {"pipeline": 1}}),
        (500, "GET", "/health/ready", {}),
        (204, "OPTIONS", JOBS, {}),
    ]
    for status, method, path, request in calls:
        response = await api.http.request(method, path, **request)

        assert response.status_code == status, response.text
        assert_security_headers(response)


async def test_pages_allow_only_the_services_own_scripts_and_styles(api: Api) -> None:
    response = await api.http.get("/docs")

    policy = response.headers["content-security-policy"]
    assert_security_headers(response, policy)
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "<style" not in response.text
    assert "style=" not in response.text
    assert "<script>" not in response.text


async def test_an_uploaded_page_is_sandboxed_and_cached_only_privately(api: Api) -> None:
    upload = ("page.html", b"<script>document.cookie</script>", "text/html")
    file = (await api.http.post("/api/v1/files", files={"file": upload})).json()
    url = f"/api/v1/files/{file['id']}/content"

    whole = await api.http.get(url)
    part = await api.http.get(url, headers={"Range": "bytes=0-3"})
    revalidated = await api.http.get(url, headers={"If-None-Match": whole.headers["etag"]})

    for response in (whole, part, revalidated):
        policy = response.headers["content-security-policy"]
        assert policy.split("; ") == ["sandbox allow-scripts", "frame-ancestors 'self'"]
        assert response.headers["cache-control"] == "private, no-cache"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "SAMEORIGIN"
    assert (whole.headers["content-type"], part.content) == ("text/html; charset=utf-8", b"<scr")


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("a.html", "text/html"), ("a.svg", "image/svg+xml"), ("a.xhtml", "application/xhtml+xml; charset=x")],
)
async def test_a_page_or_drawing_of_a_user_is_saved_when_it_is_opened_by_a_url(
    settings: Settings, name: str, media_type: str
) -> None:
    framed = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "same-origin"}
    on_files_host = {"Host": "files.example.net"}
    async with serving(
        msgspec.structs.replace(
            settings, files_host="files.example.net", auth="proxy", trusted_proxies=("127.0.0.1",)
        )
    ) as api:
        api.http.headers["X-Forwarded-User"] = "ada"
        upload = (name, b"<script>1</script>", media_type)
        file = (await api.http.post("/api/v1/files", files={"file": upload})).json()
        url = f"/api/v1/files/{file['id']}/content"

        opened = [await api.http.get(url, headers=headers) for headers in ({}, framed, on_files_host)]
        part = await api.http.get(url, headers={"Range": "bytes=0-3"})
        revalidated = await api.http.get(url, headers={"If-None-Match": opened[0].headers["etag"]})

    kinds = [each.headers["content-disposition"].partition(";")[0] for each in (*opened, part, revalidated)]
    assert kinds == ["attachment", "inline", "inline", "attachment", "attachment"]
    assert opened[0].headers["vary"] == "Origin, Sec-Fetch-Dest, Sec-Fetch-Site"


async def test_hsts_is_sent_only_for_trusted_https_in_production(settings: Settings) -> None:
    public = msgspec.structs.replace(
        settings, env="production", auth="proxy", trusted_proxies=("127.0.0.1",), secret_key="s" * 32
    )
    by_https = {"X-Forwarded-Proto": "https"}
    name = "strict-transport-security"

    async with serving(public) as api:
        secure = await api.http.get("/nowhere", headers=by_https)
        plain = await api.http.get("/nowhere", headers={"X-Forwarded-Proto": "http"})
    async with serving(msgspec.structs.replace(public, trusted_proxies=("10.0.0.5",))) as api:
        spoofed = await api.http.get("/nowhere", headers=by_https)
    async with serving(msgspec.structs.replace(public, env="local")) as api:
        local = await api.http.get("/nowhere", headers=by_https)

    assert secure.headers[name] == "max-age=31536000"
    assert [name in response.headers for response in (plain, spoofed, local)] == [False, False, False]


async def test_internal_errors_reveal_only_an_incident_id(api: Api) -> None:
    async def fail() -> None:
        raise RuntimeError("the password is hunter2")

    api.app.state.services.check_readiness = fail

    with capture_logs() as lines:
        response = await api.http.get("/health/ready")

    problem = response.json()
    incident = next(line["incident"] for line in lines if line["event"] == "request_failed")
    assert response.status_code == 500
    assert set(problem) == {"type", "title", "status", "detail", "code", "instance"}
    assert problem["detail"] == f"something went wrong; it is logged as incident {incident}"
    assert not any(word in response.text for word in ("hunter2", "RuntimeError", "Traceback", ".py"))


async def test_problems_redact_credentials(api: Api) -> None:
    key = "hr_0123456789ab_" + "s" * 43

    response = await api.http.post(JOBS, json={"pipeline": "noop", key: 1})
    path = await api.http.get(f"/nowhere/{key}")

    assert (response.status_code, path.status_code) == (422, 404)
    assert "hr_0123456789ab_[redacted]" in response.text
    assert "s" * 43 not in response.text + path.text


async def test_responses_carry_the_callers_request_id_or_a_new_one(open_api: Api) -> None:
    async def ids(headers: dict[str, str]) -> list[str]:
        responses = [
            await open_api.http.get(JOBS, headers=headers),
            await open_api.http.get("/nowhere", headers=headers),
            await open_api.http.put(JOBS, headers=headers),
            await open_api.http.options(JOBS, headers={**headers, **PREFLIGHT, "Origin": ALLOWED_ORIGIN}),
            await open_api.http.get("/docs/assets/swagger-ui.css", headers=headers),
        ]
        assert [response.status_code for response in responses] == [200, 404, 405, 204, 200]
        return [response.headers["x-request-id"] for response in responses]

    mine = await ids({"X-Request-Id": "mine-1"})
    generated = await ids({})
    bad = await ids({"X-Request-Id": "not an id"})

    assert mine == ["mine-1"] * 5
    assert len({*generated, *bad}) == 10
    assert "not an id" not in bad


async def test_the_log_line_of_a_closed_socket_carries_its_request_id(api: Api, settings: Settings) -> None:
    await register_pipelines(settings)
    job = await api.submit("noop", run_at="2100-01-01T00:00:00Z")
    seen: list[Any] = []

    def keep(_logger: Any, _method: str, event: Any) -> Any:
        seen.append({**structlog.contextvars.get_contextvars(), **event})
        raise structlog.DropEvent

    url = f"{api.ws}{JOBS}/{job['id']}/ws"
    with capture_logs(processors=[keep]):
        async with open_socket(url, additional_headers={"X-Request-Id": "of-a-socket"}) as socket:
            await socket.recv()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(line["event"] == "stream_closed" for line in seen):
                await asyncio.sleep(0.01)

    closed = next(line for line in seen if line["event"] == "stream_closed")
    assert (closed["request_id"], closed["user"], closed["job_id"]) == ("of-a-socket", "dev", job["id"])
    assert closed["reason"]
    assert closed["frames_sent"] >= 1


def origin_varies(response: httpx.Response) -> list[str]:
    """Return the headers on which the response depends, without the one about its compression."""
    varies: list[str] = response.headers.get_list("vary", split_commas=True)
    return [name for name in varies if name != "Accept-Encoding"]


async def test_an_allowed_origin_may_use_the_api_with_credentials(open_api: Api) -> None:
    preflight = await open_api.http.options(JOBS, headers={**PREFLIGHT, "Origin": ALLOWED_ORIGIN})
    responses = [
        await open_api.http.get(JOBS, headers={"Origin": ALLOWED_ORIGIN}),
        await open_api.http.get("/nowhere", headers={"Origin": ALLOWED_ORIGIN}),
        await open_api.http.post(JOBS, json={"pipeline": 1}, headers={"Origin": ALLOWED_ORIGIN}),
        await open_api.http.get(JOBS, headers={"Origin": ALLOWED_ORIGIN, "Authorization": "Bearer no"}),
    ]

    assert preflight.status_code == 204
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "idempotency-key" in preflight.headers["access-control-allow-headers"]
    assert [response.status_code for response in responses] == [200, 404, 422, 401]
    for response in (preflight, *responses):
        assert response.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
        assert response.headers["access-control-allow-credentials"] == "true"
        assert origin_varies(response) == ["Origin"]
    exposed = set(responses[0].headers["access-control-expose-headers"].split(", "))
    assert {"X-Request-Id", "Location", "Retry-After", "Idempotency-Replayed", "RateLimit"} <= exposed


async def test_a_foreign_origin_may_not_use_the_api(open_api: Api) -> None:
    for origin in (FOREIGN_ORIGIN, "null", f"{ALLOWED_ORIGIN}.evil.example.com", "https://appxexample.com"):
        preflight = await open_api.http.options(JOBS, headers={**PREFLIGHT, "Origin": origin})
        read = await open_api.http.get(JOBS, headers={"Origin": origin})
        wrote = await open_api.http.post(JOBS, json={"pipeline": "noop"}, headers={"Origin": origin})

        assert preflight.status_code == 400
        assert not any(name.startswith("access-control") for name in preflight.headers)
        assert (wrote.status_code, wrote.json()["code"]) == (403, "origin_refused")
        for response in (preflight, read, wrote):
            assert "access-control-allow-origin" not in response.headers
            assert origin_varies(response) == ["Origin"]


async def test_no_cors_headers_are_sent_without_allowed_origins(api: Api) -> None:
    preflight = await api.http.options(JOBS, headers={**PREFLIGHT, "Origin": FOREIGN_ORIGIN})
    read = await api.http.get(JOBS, headers={"Origin": FOREIGN_ORIGIN})

    assert not any(name.startswith("access-control") for name in [*preflight.headers, *read.headers])
    assert origin_varies(read) == []


async def test_sockets_from_foreign_origins_are_closed(open_api: Api) -> None:
    async def code(**headers: str) -> int | None:
        url = f"{open_api.ws}/api/v1/ws"
        async with asyncio.timeout(PATIENCE_SECONDS), open_socket(url, additional_headers=headers) as socket:
            with suppress(ConnectionClosed):
                await socket.send('{"type": "ping"}')
                await socket.recv()
            return socket.close_code

    foreign_codes = [await code(Origin=FOREIGN_ORIGIN), await code(Origin="null")]
    allowed_codes = [
        await code(Origin=ALLOWED_ORIGIN),
        await code(Origin=open_api.ws.replace("ws", "http")),
        await code(),
    ]

    assert foreign_codes == [4403, 4403]
    assert allowed_codes == [None] * 3


async def test_too_deeply_nested_json_is_refused(api: Api, settings: Settings) -> None:
    await register_pipelines(settings)

    async def code(levels: int) -> tuple[int, str]:
        # The body adds two levels around the value.
        value = b"[" * (levels - 2) + b"]" * (levels - 2)
        body = b'{"pipeline": "ticks", "params": {"x": ' + value + b"}}"
        response = await api.http.post(JOBS, content=body, headers={"Content-Type": "application/json"})
        return response.status_code, response.json()["code"]

    assert await code(64) == (422, "params_invalid")
    assert await code(65) == (422, "nested_too_deep")
    assert await code(500) == (422, "nested_too_deep")
    # This is too deep to be decoded at all.
    assert await code(20_000) == (400, "malformed")


async def test_an_upload_that_never_starts_a_file_is_refused(settings: Settings) -> None:
    small = msgspec.structs.replace(settings, max_file_bytes=1_000)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"\r\n" * 1_000

    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    async with serving(small) as api:
        response = await api.http.post("/api/v1/files", content=endless(), headers=headers)

    assert (response.status_code, response.json()["code"]) == (413, "file_too_large")


async def test_options_lists_every_method_of_the_path(api: Api) -> None:
    response = await api.http.options(JOBS)

    assert response.headers.get_list("allow") == ["GET, HEAD, OPTIONS, POST"]
