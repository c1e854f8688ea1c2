"""Services where callers differ, and the callers: named by a proxy, by a key, or by nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from headrace.settings import Settings
from headrace.workers.main import open_worker
from support.harness import Api, serving

PROXY_SECRET = "the proxy's and ours"
JOB_KEY = "shared with a backend that makes job tokens"


def behind_proxy(settings: Settings, **more: Any) -> Settings:
    """Settings of a service that believes a proxy with the secret; `root` is an admin."""
    usual = {
        "auth": "proxy",
        "proxy_secret": PROXY_SECRET,
        "admins": ("root", "Boss@Example.com"),
        "job_token_key": JOB_KEY,
        "secret_key": "a key of this test run alone",
    }
    return msgspec.structs.replace(settings, **{**usual, **more})


def named(username: str, email: str | None = None) -> dict[str, str]:
    """The headers with which the proxy names somebody."""
    headers = {"X-Headrace-Proxy-Secret": PROXY_SECRET, "X-Forwarded-Preferred-Username": username}
    return headers if email is None else {**headers, "X-Forwarded-Email": email}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def open_proxied(settings: Settings, **more: Any) -> AsyncIterator[Api]:
    """An API behind a proxy, without any worker; the bundled pipelines are registered."""
    async with open_worker(settings, ("nobody",), 1):
        pass
    async with serving(behind_proxy(settings, **more)) as running:
        yield running


class Person:
    """Somebody whom the proxy names, and what it asks of the service."""

    def __init__(self, api: Api, username: str, email: str | None = None) -> None:
        self._http = api.http
        self.headers = named(username, email)

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        return await self._http.request(method, f"/api/v1{path}", headers=headers, **more)

    async def submit(self, pipeline: str = "noop", **more: Any) -> str:
        answer = await self.ask("POST", "/jobs", json={"pipeline": pipeline, **more})
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    async def key(self, *scopes: str, **more: Any) -> dict[str, Any]:
        answer = await self.ask(
            "POST", "/api-keys", json={"name": "of a test", "scopes": list(scopes), **more}
        )
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made
