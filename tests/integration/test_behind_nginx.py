"""The service behind nginx: below a path, with the block of the documentation, and with all buffers on."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest
import yaml

from headrace.settings import Settings
from headrace_client import Client
from support.doc_blocks import texts
from support.harness import TLS, Api, serving
from support.login_env import LoginEnv
from support.nginx import behind_nginx, needs_nginx
from support.patience import PATIENCE_SECONDS, STALL_SECONDS

pytestmark = needs_nginx

LOCATION, MAP = texts("docs/http.md", "nginx")
BUFFERED = """
gzip on; gzip_types *; gzip_proxied any; gzip_min_length 0;
location / {
    proxy_pass http://127.0.0.1:8000;
    proxy_http_version 1.1;
    proxy_buffering on;
    proxy_ignore_headers X-Accel-Buffering;
}
"""
# The service promises the first frame within that time.
FIRST_FRAME_SECONDS = 2


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return msgspec.structs.replace(module_settings, trusted_proxies=("127.0.0.1",))


def at(api: Api, locations: str) -> str:
    """Return *locations* with the port of the service in the place of 8000."""
    return locations.replace("8000", str(api.http.base_url.port))


@pytest.fixture
async def below_a_path(api: Api, tmp_path: Path) -> AsyncIterator[Api]:
    """The service below `/headrace`, as the documentation shows it."""
    async with behind_nginx(tmp_path, at(api, LOCATION), MAP) as url, client_of(f"{url}/headrace") as http:
        yield Api(http, f"{url}/headrace".replace("http", "ws", 1))


def client_of(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS, verify=TLS)


async def test_locations_and_problems_name_the_path_below_which_they_are(below_a_path: Api) -> None:
    accepted = await below_a_path.http.post("/api/v1/jobs", json={"pipeline": "noop"})
    tag = await below_a_path.http.post("/api/v1/tags", json={"name": "a"})
    preset = await below_a_path.http.post(
        "/api/v1/presets", json={"title": "a", "pipeline": "noop", "params": {}}
    )
    missing = await below_a_path.http.get("/api/v1/nothing")

    assert accepted.headers["location"] == f"/headrace/api/v1/jobs/{accepted.json()['id']}"
    assert tag.headers["location"] == f"/headrace/api/v1/tags/{tag.json()['id']}"
    assert preset.headers["location"] == f"/headrace/api/v1/presets/{preset.json()['id']}"
    assert missing.json()["instance"] == "/headrace/api/v1/nothing"
    root = below_a_path.http.base_url.join("/")
    shown = await below_a_path.http.get(root.join(accepted.headers["location"]))
    assert shown.json()["id"] == accepted.json()["id"]


@pytest.mark.parametrize("page", ["docs", "graphql/explore"])
async def test_a_page_loads_everything_from_below_the_path(below_a_path: Api, page: str) -> None:
    response = await below_a_path.http.get(f"/{page}")
    assert response.status_code == 200

    addresses = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', response.text)
    assert len(addresses) >= 3
    for address in addresses:
        assert address.startswith("/headrace/")
        loaded = await below_a_path.http.get(below_a_path.http.base_url.join(address))
        assert loaded.status_code == 200, address


async def test_the_start_page_redirects_to_the_documentation_below_the_path(below_a_path: Api) -> None:
    response = await below_a_path.http.get("/")

    assert response.headers["location"] == "/headrace/docs"


async def test_the_contracts_name_the_servers_below_the_path(below_a_path: Api) -> None:
    contract = (await below_a_path.http.get("/openapi.json")).json()
    sockets = yaml.safe_load((await below_a_path.http.get("/asyncapi.yaml")).text)

    assert contract["servers"] == [{"url": "/headrace"}]
    assert "(/headrace/asyncapi.yaml)" in contract["info"]["description"]
    host = below_a_path.http.base_url.netloc.decode()
    assert sockets["servers"] == {"this": {"host": host, "protocol": "ws", "pathname": "/headrace"}}


async def test_a_job_runs_and_is_streamed_below_the_path(below_a_path: Api, service: Api) -> None:
    assert service.http.base_url.port
    job = await below_a_path.submit("noop")

    frames = await below_a_path.watch(job["id"])
    response = await below_a_path.http.get(f"/api/v1/jobs/{job['id']}/stream")

    assert frames[-1] == {"type": "end", "state": "succeeded"}
    assert 'data: {"type":"job.succeeded"' in response.text


async def test_the_client_works_with_an_address_that_has_a_path(below_a_path: Api, service: Api) -> None:
    assert service.http.base_url.port
    url = str(below_a_path.http.base_url)

    def run() -> str:
        with Client(url) as client:
            job = client.submit("noop")
            return client.wait(job.id).state

    assert await asyncio.to_thread(run) == "succeeded"


async def test_uploads_larger_than_the_default_of_nginx_pass(below_a_path: Api) -> None:
    content = b"x" * 3_000_000

    response = await below_a_path.http.post("/api/v1/files", files={"file": ("a.bin", content)})

    file_id = response.json()["id"]
    assert (await below_a_path.http.get(f"/api/v1/files/{file_id}/content")).content == content


async def test_a_prefix_of_an_untrusted_peer_is_ignored(api: Api) -> None:
    async with serving(msgspec.structs.replace(api.app.state.services.settings, trusted_proxies=())) as other:
        headers = {"X-Forwarded-Prefix": "/evil"}
        response = await other.http.get("/", headers=headers)
        contract = (await other.http.get("/openapi.json", headers=headers)).json()

    assert response.headers["location"] == "/docs"
    assert contract["servers"] == [{"url": "/"}]


@pytest.mark.parametrize(
    "prefix", ['/"><script>', "//evil.example", "/a/../b", "evil", "/a b", "/" + "a" * 300]
)
async def test_a_prefix_that_is_no_path_is_ignored(api: Api, prefix: str) -> None:
    response = await api.http.get("/", headers={"X-Forwarded-Prefix": prefix})

    assert response.headers["location"] == "/docs"
    assert "script>" not in (await api.http.get("/docs", headers={"X-Forwarded-Prefix": prefix})).text[:200]


async def test_of_several_prefixes_the_one_that_the_proxy_added_last_counts(api: Api) -> None:
    headers = [("X-Forwarded-Prefix", "/evil"), ("X-Forwarded-Prefix", "/headrace/")]

    assert (await api.http.get("/", headers=headers)).headers["location"] == "/headrace/docs"


async def test_the_path_of_the_public_url_is_the_prefix_even_if_the_proxy_does_not_cut_it_off(
    api: Api, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(
        api.app.state.services.settings, trusted_proxies=(), public_url="http://127.0.0.1/jobs"
    )
    async with serving(settings) as other:
        location = at(other, "location /jobs/ { proxy_pass http://127.0.0.1:8000; }")
        async with behind_nginx(tmp_path, location) as url, client_of(url) as http:
            start = await http.get("/jobs/")
            docs = await http.get(start.headers["location"])
        direct = await other.http.get("/docs")

    assert start.headers["location"] == "/jobs/docs"
    assert docs.status_code == 200
    assert '"/jobs/docs/assets/swagger-ui.css"' in docs.text
    assert direct.text == docs.text


@pytest.mark.parametrize("prefix", ["/api", "/docs", "/a/b"])
@pytest.mark.parametrize("is_cut", [True, False])
async def test_a_prefix_may_look_like_a_path_of_the_service(
    api: Api, tmp_path: Path, prefix: str, is_cut: bool
) -> None:
    location = f"""location {prefix}/ {{
        proxy_pass http://127.0.0.1:8000{"/" if is_cut else ""};
        proxy_set_header X-Forwarded-Prefix {prefix};
    }}"""
    async with behind_nginx(tmp_path, at(api, location)) as url, client_of(url) as http:
        accepted = await http.post(f"{prefix}/api/v1/jobs", json={"pipeline": "noop"})
        job = await http.get(accepted.headers["location"])
        pages = [await http.get(f"{prefix}{path}") for path in ("/docs", "/docs/page/start.js")]

    assert accepted.headers["location"] == f"{prefix}/api/v1/jobs/{accepted.json()['id']}"
    assert job.json()["id"] == accepted.json()["id"]
    assert [page.status_code for page in pages] == [200, 200]


@pytest.mark.parametrize("return_to", ["/docs", "/headrace/docs"])
async def test_a_sign_in_comes_back_below_the_path_with_cookies_for_it(
    login_env: LoginEnv, tmp_path: Path, return_to: str
) -> None:
    trusting = msgspec.structs.replace(login_env.settings, trusted_proxies=("127.0.0.1",))
    async with (
        serving(trusting) as api,
        behind_nginx(tmp_path, at(api, LOCATION), MAP) as url,
        client_of(url) as http,
    ):
        start = await http.get(f"/headrace/auth/login/corp?return_to={return_to}")
        redirect_uri = parse_qs(urlsplit(start.headers["location"]).query)["redirect_uri"]
        approval = await http.get(start.headers["location"])
        # Browsers send `Secure` cookies to this machine; httpx does not.
        cookies = {"Cookie": start.headers["set-cookie"].partition(";")[0]}
        back = await http.get(approval.headers["location"], headers=cookies)

    assert redirect_uri == [f"{url}/headrace/auth/callback/corp"]
    assert (back.status_code, back.headers["location"]) == (302, "/headrace/docs")
    assert "Path=/headrace/auth" in start.headers["set-cookie"]
    paths = {
        cookie.partition("=")[0]: re.search(r"Path=([^;]*)", cookie)[1]  # type: ignore[index]
        for cookie in back.headers.get_list("set-cookie")
    }
    assert paths == {
        "headrace_access": "/headrace",
        "headrace_refresh": "/headrace/auth",
        "headrace_csrf": "/headrace",
    }


async def test_the_first_frame_comes_at_once_although_nginx_buffers_and_compresses(
    api: Api, tmp_path: Path
) -> None:
    job = await api.submit("noop", run_at="2100-01-01T00:00:00Z")
    async with behind_nginx(tmp_path, at(api, BUFFERED)) as url, client_of(url) as http:
        begun = time.monotonic()
        path = f"/api/v1/jobs/{job['id']}/stream"
        async with asyncio.timeout(PATIENCE_SECONDS), http.stream("GET", path) as response:
            lines = response.aiter_lines()
            first = await anext(lines)
            seconds = time.monotonic() - begun
            await api.http.post(f"/api/v1/jobs/{job['id']}/cancel")
            rest = [line async for line in lines]

    assert first.startswith('data: {"type":"hello"')
    assert seconds < FIRST_FRAME_SECONDS + STALL_SECONDS
    assert rest[-2].startswith('data: {"type":"end"')
    assert response.headers["cache-control"] == "no-store, no-transform"
