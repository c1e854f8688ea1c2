"""The page about web pages works by copying: its code runs in a browser, on an origin of its own."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import httpx
import pytest
import uvicorn
from msgspec.structs import replace

from headrace.settings import Settings
from support.chromium import browsing, needs_chromium
from support.doc_blocks import texts
from support.harness import TLS, Api, QuietServer, serving, working
from support.patience import PATIENCE_SECONDS

ROOT: Final = Path(__file__).parents[2]
ESBUILD: Final = ROOT / ".generators" / "node_modules" / ".bin" / "esbuild"
ADA: Final = {"X-Forwarded-Preferred-Username": "ada"}

pytestmark = needs_chromium


def code(language: str) -> str:
    """Return the one block of the page in a language."""
    (block,) = texts("docs/web.md", language)
    return block


@asynccontextmanager
async def backend_serving(
    folder: Path, listener: socket.socket, url: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """Serve the backend of the page, and what is in the folder `public`."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HEADRACE_URL", url)
    monkeypatch.setenv("HEADRACE_TOKEN", token)
    backend: Any = ModuleType("backend")
    monkeypatch.setitem(sys.modules, "backend", backend)
    exec(code("python"), vars(backend))  # noqa: S102
    server = QuietServer(uvicorn.Config(backend.app, log_config=None, lifespan="off", ws="none"))
    running = asyncio.create_task(server.serve([listener]))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not server.started:
                await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await asyncio.wait_for(running, PATIENCE_SECONDS)
        await backend.client.close()


async def api_key(api: Api) -> str:
    """Return the API key of a backend."""
    body = {"name": "backend", "scopes": ["jobs:read", "jobs:write"]}
    return str((await api.http.post("/api/v1/api-keys", json=body, headers=ADA)).json()["key"])


@pytest.fixture
async def origin(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[str, Api]]:
    """The page's origin, which the service allows, and the service."""
    public = tmp_path / "public"
    public.mkdir()
    (public / "index.html").write_text(code("html"))
    (public / "job.js").write_text(code("js"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # The page is opened as `localhost`, so that the service is on another origin and another host.
        own = f"http://localhost:{listener.getsockname()[1]}"
        settings = replace(settings, auth="proxy", trusted_proxies=("127.0.0.1",), cors_origins=(own,))
        async with serving(settings) as api, working(settings):
            url = str(api.http.base_url).rstrip("/")
            async with backend_serving(tmp_path, listener, url, await api_key(api), monkeypatch):
                yield own, api


async def test_a_page_of_an_allowed_origin_shows_a_job_to_its_end(
    origin: tuple[str, Api], tmp_path: Path
) -> None:
    own, _ = origin
    async with browsing(tmp_path / "profile", own) as page:
        await page.evaluate("document.querySelector('#start').click()")
        await page.until("document.querySelector('#state').textContent === 'running'")
        await page.until("document.querySelector('#bar').value > 0")
        await page.until("document.querySelector('#state').textContent === 'succeeded'")

        assert await page.evaluate("document.querySelector('#bar').value") == 1


async def test_the_watch_of_a_page_ends_where_the_token_or_the_origin_is_not_accepted(
    origin: tuple[str, Api], tmp_path: Path
) -> None:
    own, api = origin
    watch = (
        "import('./job.js').then(({ watchJob }) => new Promise((done) => watchJob("
        "{ url: '%s', id: '%s', token: '%s' }, (frame) => frame.type === 'end' && done(frame.state))))"
    )
    async with httpx.AsyncClient(base_url=own, verify=TLS) as backend:
        job = (await backend.post("/reports")).json()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await api.http.get(f"/api/v1/jobs/{job['id']}", headers=ADA)).json()["state"] != "succeeded":
            await asyncio.sleep(0.1)
    async with browsing(tmp_path / "profile", own) as page:
        ended = await page.evaluate(watch % (job["url"], job["id"], job["token"]))
        refused = await page.evaluate(watch % (job["url"], job["id"], "invalid"))
    # 127.0.0.1 is not the origin that the settings name.
    async with browsing(tmp_path / "other", own.replace("localhost", "127.0.0.1")) as page:
        foreign = await page.evaluate(watch % (job["url"], job["id"], job["token"]))

    assert (ended, refused, foreign) == ("succeeded", "lost", "lost")


@pytest.mark.skipif(not ESBUILD.exists(), reason="React is not installed; install it with: make generators")
async def test_the_react_hook_shows_a_job_to_its_end(origin: tuple[str, Api], tmp_path: Path) -> None:
    own, _ = origin
    (tmp_path / "node_modules").symlink_to(ROOT / ".generators" / "node_modules")
    (tmp_path / "job.js").write_text(code("js"))
    (tmp_path / "useJob.jsx").write_text(code("jsx"))
    (tmp_path / "app.jsx").write_text(
        'import { createRoot } from "react-dom/client";\n'
        'import { JobProgress } from "./useJob.jsx";\n'
        'const root = createRoot(document.querySelector("#root"));\n'
        "root.render(<JobProgress job={null} />);\n"
        'fetch("/reports", { method: "POST" }).then((answer) => answer.json())\n'
        "  .then((job) => root.render(<JobProgress job={job} />));\n"
    )
    command = [str(ESBUILD), "app.jsx", "--bundle", "--jsx=automatic", "--outfile=public/app.js"]

    def build() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    built = await asyncio.to_thread(build)
    assert built.returncode == 0, built.stderr
    (tmp_path / "public" / "react.html").write_text(
        '<!doctype html><div id="root"></div><script src="app.js"></script>'
    )

    async with browsing(tmp_path / "profile", f"{own}/react.html") as page:
        await page.until("document.querySelector('p')?.textContent.startsWith('running')")
        await page.until("document.querySelector('p').textContent.startsWith('succeeded')")

        assert await page.evaluate("document.querySelector('progress').value") == 1
