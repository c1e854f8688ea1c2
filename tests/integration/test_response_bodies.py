"""HEAD on every route with GET, compressed JSON, and 304 for objects that the client has already."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from headrace.settings import Settings
from support.every_route import PUBLIC_PATHS, routes
from support.harness import TLS, Api, serving
from support.patience import PATIENCE_SECONDS
from support.shared_api import problem

# They differ from one response to the next.
VOLATILE = {"date", "x-request-id", "ratelimit", "transfer-encoding"}
LARGE = {"text": "a text that repeats itself; " * 100}


@pytest.fixture
async def plain(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """A client that sends no `Accept-Encoding` by itself, and does not decompress."""
    async with httpx.AsyncClient(base_url=api.http.base_url, timeout=PATIENCE_SECONDS, verify=TLS) as client:
        del client.headers["accept-encoding"]
        yield client


async def objects(api: Api) -> dict[str, str]:
    """Create an object of each kind with an entity tag, and return its path by its kind."""
    job = await api.submit("noop", run_at="2100-01-01T00:00:00Z", meta=LARGE)
    file = (await api.http.post("/api/v1/files", files={"file": ("a.txt", b"x")})).json()
    preset = (
        await api.http.post("/api/v1/presets", json={"title": "a", "pipeline": "noop", "params": {}})
    ).json()
    tag = (await api.http.post("/api/v1/tags", json={"name": "a"})).json()
    return {
        "job": f"/api/v1/jobs/{job['id']}",
        "file": f"/api/v1/files/{file['id']}",
        "preset": f"/api/v1/presets/{preset['id']}",
        "tag": f"/api/v1/tags/{tag['id']}",
        "pipeline": "/api/v1/pipelines/noop",
    }


def lasting(response: httpx.Response) -> dict[str, str]:
    # Between two requests the metrics change, and with them their length.
    volatile = VOLATILE | ({"content-length"} if response.url.path == "/metrics" else set())
    return {name: value for name, value in response.headers.items() if name not in volatile}


async def test_head_has_the_headers_of_get_and_no_body_on_every_route(api: Api) -> None:
    paths = await objects(api)
    ids = {f"{kind}_id": path.rpartition("/")[2] for kind, path in paths.items()}
    ids |= {"name": "noop", "user_id": ids["job_id"], "key_id": ids["job_id"], "tone_id": "1"}
    reads = [route for route in routes() if route.method == "GET" and not route.path.endswith("/stream")]
    assert len(reads) > 15
    for path in [*(route.at(ids) for route in reads), *PUBLIC_PATHS]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            got = await api.http.get(path)
            head = await api.http.head(path)

        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert lasting(head) == lasting(got), path


async def test_head_of_a_stream_ends_at_once_and_holds_no_stream_open(api: Api) -> None:
    job = (await objects(api))["job"]

    async with asyncio.timeout(PATIENCE_SECONDS):
        head = await api.http.head(f"{job}/stream")
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        while api.app.state.services.limits.quotas.streams:
            await asyncio.sleep(0.01)


async def test_head_of_a_download_sends_its_length(api: Api) -> None:
    file = (await api.http.post("/api/v1/files", files={"file": ("a.bin", b"x" * 1_000_000)})).json()

    head = await api.http.head(f"/api/v1/files/{file['id']}/content")

    assert (head.headers["content-length"], head.content) == ("1000000", b"")


async def test_head_where_there_is_no_get_is_not_allowed(api: Api) -> None:
    job = (await objects(api))["job"]

    response = await api.http.head(f"{job}/cancel")
    refused = await api.http.put(job)

    assert (response.status_code, response.headers["allow"]) == (405, "OPTIONS, POST")
    assert refused.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"


async def test_large_json_is_compressed_for_clients_that_accept_it(api: Api, plain: Any) -> None:
    path = (await objects(api))["job"]

    compressed = await plain.send(plain.build_request("GET", path, headers={"Accept-Encoding": "gzip"}))
    uncompressed = await plain.get(path)

    assert compressed.headers["content-encoding"] == "gzip"
    assert int(compressed.headers["content-length"]) < 1000 < int(uncompressed.headers["content-length"])
    assert "content-encoding" not in uncompressed.headers
    assert compressed.headers["vary"] == uncompressed.headers["vary"] == "Accept-Encoding"
    assert compressed.json() == uncompressed.json()
    assert compressed.headers["etag"] == uncompressed.headers["etag"]


async def test_megabytes_are_compressed_piece_by_piece(api: Api, plain: Any) -> None:
    jobs = [
        {"pipeline": "noop", "meta": {"text": f"{number}" * 900}, "run_at": "2100-01-01T00:00:00Z"}
        for number in range(100, 600)
    ]
    accepted = await api.http.post("/api/v1/jobs/batch", json={"jobs": jobs})
    assert accepted.status_code == 202

    raw = b""
    request = plain.build_request("GET", "/api/v1/jobs?limit=500", headers={"Accept-Encoding": "br, gzip"})
    response = await plain.send(request, stream=True)
    async for chunk in response.aiter_raw():
        raw += chunk

    assert response.headers["content-encoding"] == "gzip"
    body = gzip.decompress(raw)
    assert len(body) > 1_000_000 > 3 * len(raw)
    assert msgspec.json.decode(body)["total"] == 500


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("GZIP", True),
        ("*", True),
        ("x-gzip", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*;q=0", False),
        ("br", False),
        ("identity", False),
        ("", False),
        ("gzip;q=0, *", False),
    ],
)
async def test_accept_encoding_is_read_with_its_weights(
    api: Api, plain: Any, accepted: str, is_compressed: bool
) -> None:
    response = await plain.get("/openapi.json", headers={"Accept-Encoding": accepted})

    assert api.http.base_url
    assert ("content-encoding" in response.headers) is is_compressed
    assert response.json()["openapi"].startswith("3.")


@pytest.mark.parametrize(
    ("site", "is_compressed"),
    [("same-origin", True), ("none", True), ("same-site", False), ("cross-site", False)],
)
async def test_nothing_is_compressed_for_pages_of_other_origins(
    api: Api, site: str, is_compressed: bool
) -> None:
    path = (await objects(api))["job"]

    response = await api.http.get(path, headers={"Sec-Fetch-Site": site})

    assert ("content-encoding" in response.headers) is is_compressed


async def test_small_json_files_streams_problems_and_secrets_are_not_compressed(api: Api) -> None:
    paths = await objects(api)
    content = msgspec.json.encode(LARGE)
    file = (
        await api.http.post("/api/v1/files", files={"file": ("a.json", content, "application/json")})
    ).json()
    key = {"name": "x" * 100, "scopes": ["jobs:read"] * 6}
    query = "&".join(f"unknown{number}=1" for number in range(50))
    responses = {
        "small": await api.http.get(paths["tag"]),
        "file": await api.http.get(f"/api/v1/files/{file['id']}/content"),
        "problem": await api.http.get(f"/api/v1/jobs?{query}"),
        "stream": await api.http.head(f"{paths['job']}/stream"),
        "key": await api.http.post("/api/v1/api-keys", json=key),
        "token": await api.http.post(f"{paths['job']}/tokens", json={}),
    }

    assert responses["file"].content == content
    for name, response in responses.items():
        assert response.headers.get("content-encoding", "identity") == "identity", name
    assert len(responses["problem"].content) > 1024


@pytest.mark.parametrize("kind", ["job", "file", "preset", "tag", "pipeline"])
async def test_an_object_that_the_client_has_is_not_sent_again(api: Api, kind: str) -> None:
    path = (await objects(api))[kind]
    first = await api.http.get(path)
    tag = first.headers["etag"]

    for condition in (tag, tag.removeprefix("W/"), f'"x", {tag}', "*"):
        again = await api.http.get(path, headers={"If-None-Match": condition})
        assert (again.status_code, again.content) == (304, b""), condition
        assert again.headers["etag"] == tag
        assert again.headers["cache-control"] == "private, no-cache"
        assert "content-type" not in again.headers
    other = await api.http.get(path, headers={"If-None-Match": 'W/"x"'})
    assert (other.status_code, other.headers["etag"]) == (200, tag)


async def test_a_change_changes_the_entity_tag(api: Api) -> None:
    path = (await objects(api))["job"]
    before = (await api.http.get(path)).headers["etag"]

    changed = await api.http.patch(path, json={"meta": {"a": 1}})
    after = await api.http.get(path, headers={"If-None-Match": before})

    assert changed.status_code == after.status_code == 200
    assert after.headers["etag"] != before


async def test_errors_and_lists_have_no_entity_tag(api: Api) -> None:
    missing = await api.http.get("/api/v1/pipelines/nothing", headers={"If-None-Match": "*"})
    listed = await api.http.get("/api/v1/jobs", headers={"If-None-Match": "*"})

    problem(missing, 404, "pipeline_not_found")
    assert "etag" not in missing.headers
    assert (listed.status_code, listed.headers["cache-control"]) == (200, "no-store")


async def test_a_list_of_allowed_origins_adds_to_vary(api: Api) -> None:
    settings: Settings = api.app.state.services.settings
    path = (await objects(api))["job"]

    async with serving(msgspec.structs.replace(settings, cors_origins=("https://a.example",))) as other:
        response = await other.http.get(path)

    assert {"Accept-Encoding", "Origin"} <= {
        name.strip() for name in ",".join(response.headers.get_list("vary")).split(",")
    }
