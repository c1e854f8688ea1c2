"""A browser that keeps cookies by their paths, and goes where it is sent."""

from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit

import httpx

from support.harness import Api


class Browser:
    """Somebody's browser. It is on this machine, where browsers take `Secure` cookies over http."""

    def __init__(self, api: Api) -> None:
        self._http = api.http
        self.cookies: dict[str, str] = {}
        self.paths: dict[str, str] = {}

    async def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask the service."""
        headers = dict(more.pop("headers", {}))
        sent = [
            f"{name}={value}" for name, value in self.cookies.items() if path.startswith(self.paths[name])
        ]
        if sent:
            headers["Cookie"] = "; ".join(sent)
        answer = await self._http.request(method, path, headers=headers, **more)
        for header in answer.headers.get_list("set-cookie"):
            for name, cookie in SimpleCookie(header).items():
                self.cookies.pop(name, None)
                if cookie["max-age"] != "0":
                    self.cookies[name], self.paths[name] = cookie.value, cookie["path"]
        return answer

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.call("GET", path, **more)

    async def post(self, path: str, **more: Any) -> httpx.Response:
        """Change something, as the service's own page does."""
        headers = {"Origin": str(self._http.base_url).rstrip("/"), **more.pop("headers", {})}
        if "headrace_csrf" in self.cookies:
            headers = {"X-CSRF-Token": self.cookies["headrace_csrf"], **headers}
        return await self.call("POST", path, headers=headers, **more)

    async def leave(self, provider: str, **query: str) -> str:
        """Begin to sign in, say yes at the provider; the address that it sends the browser back to."""
        there = await self.get(f"/auth/login/{provider}", params=query)
        assert there.status_code == 302, there.text
        back = await self._http.get(there.headers["location"])
        assert back.status_code == 302, back.text
        parts = urlsplit(back.headers["location"])
        return f"{parts.path}?{parts.query}"

    async def sign_in(self, provider: str, **query: str) -> httpx.Response:
        """The whole way; the answer of the callback."""
        return await self.get(await self.leave(provider, **query))
