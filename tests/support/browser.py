"""A browser for tests, which stores cookies by path and signs in at a provider."""

from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit

import httpx

from support.harness import Api


class Browser:
    """A user's browser on this machine, where browsers accept `Secure` cookies over http."""

    def __init__(self, api: Api) -> None:
        self._http = api.http
        self.cookies: dict[str, str] = {}
        self.paths: dict[str, str] = {}

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request with the matching cookies, and store the cookies of the response."""
        headers = dict(options.pop("headers", {}))
        sent = [
            f"{name}={value}" for name, value in self.cookies.items() if path.startswith(self.paths[name])
        ]
        if sent:
            headers["Cookie"] = "; ".join(sent)
        response = await self._http.request(method, path, headers=headers, **options)
        for header in response.headers.get_list("set-cookie"):
            for name, cookie in SimpleCookie(header).items():
                self.cookies.pop(name, None)
                if cookie["max-age"] != "0":
                    self.cookies[name], self.paths[name] = cookie.value, cookie["path"]
        return response

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.call("GET", path, **options)

    async def post(self, path: str, **options: Any) -> httpx.Response:
        """Send a POST with the origin and the CSRF token, as the service's own page does."""
        headers = {"Origin": str(self._http.base_url).rstrip("/"), **options.pop("headers", {})}
        if "headrace_csrf" in self.cookies:
            headers = {"X-CSRF-Token": self.cookies["headrace_csrf"], **headers}
        return await self.call("POST", path, headers=headers, **options)

    async def authorize(self, provider: str, **query: str) -> str:
        """Start a sign-in and approve it at the provider. Return the path of the callback with its query."""
        sign_in_page = await self.get(f"/auth/login/{provider}", params=query)
        assert sign_in_page.status_code == 302, sign_in_page.text
        approval = await self._http.get(sign_in_page.headers["location"])
        assert approval.status_code == 302, approval.text
        parts = urlsplit(approval.headers["location"])
        return f"{parts.path}?{parts.query}"

    async def sign_in(self, provider: str, **query: str) -> httpx.Response:
        """Sign in at the provider. Return the response of the callback."""
        return await self.get(await self.authorize(provider, **query))
