"""A service behind a proxy, and its callers: identified by the proxy, by a key or not at all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from headrace.settings import Settings
from support.harness import Api, register_pipelines, serving

PROXY_SECRET = "the proxy's and ours"
JOB_KEY = "shared with a backend that makes job tokens"


def behind_proxy(settings: Settings, **more: Any) -> Settings:
    """Return settings that trust a proxy with the secret; `root` is an admin."""
    defaults = {
        "auth": "proxy",
        "proxy_secret": PROXY_SECRET,
        "admins": ("root", "Boss@Example.com"),
        "job_token_key": JOB_KEY,
        "secret_key": "a key of this test run alone",
    }
    return msgspec.structs.replace(settings, **{**defaults, **more})


def named(username: str, email: str | None = None) -> dict[str, str]:
    """Return the headers with which the proxy names a user."""
    headers = {"X-Headrace-Proxy-Secret": PROXY_SECRET, "X-Forwarded-Preferred-Username": username}
    return headers if email is None else {**headers, "X-Forwarded-Email": email}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def open_proxied(settings: Settings, **more: Any) -> AsyncIterator[Api]:
    """Open an API behind a proxy, without workers; the bundled pipelines are registered."""
    await register_pipelines(settings)
    async with serving(behind_proxy(settings, **more)) as running:
        yield running


class Person:
    """A user whom the proxy names, with the requests it sends to the service."""

    def __init__(self, api: Api, username: str, email: str | None = None) -> None:
        self._http = api.http
        self.headers = named(username, email)

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        return await self._http.request(method, f"/api/v1{path}", headers=headers, **more)

    async def submit(self, pipeline: str = "noop", **more: Any) -> str:
        response = await self.ask("POST", "/jobs", json={"pipeline": pipeline, **more})
        assert response.status_code == 202, response.text
        job_id: str = response.json()["id"]
        return job_id

    async def key(self, *scopes: str, **more: Any) -> dict[str, Any]:
        response = await self.ask(
            "POST", "/api-keys", json={"name": "of a test", "scopes": list(scopes), **more}
        )
        assert response.status_code == 201, response.text
        api_key: dict[str, Any] = response.json()
        return api_key
