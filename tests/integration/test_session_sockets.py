"""Sockets of signed-in users: allowed only from the service's own pages, and closed with the session."""

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest
import websockets

from support.browser import Browser
from support.login_env import LoginEnv
from support.patience import PATIENCE_SECONDS, STALL_SECONDS, open_socket

BEAT_SECONDS = 10


def watch(login_env: LoginEnv, browser: Browser, **headers: str) -> Any:
    """Open the overview socket as a page in that browser does."""
    cookies = "; ".join(f"{name}={browser.cookies[name]}" for name in ("headrace_access", "headrace_csrf"))
    return open_socket(login_env.api.ws + "/api/v1/ws", additional_headers={"Cookie": cookies, **headers})


async def ping(socket: Any) -> dict[str, Any]:
    await socket.send('{"type":"ping"}')
    frame: dict[str, Any] = msgspec.json.decode(await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS))
    return frame


async def test_the_services_own_page_can_watch_until_its_user_signs_out(
    login_env: LoginEnv, browser: Browser
) -> None:
    await browser.sign_in("corp")
    async with watch(login_env, browser, Origin=str(login_env.api.http.base_url).rstrip("/")) as socket:
        reply = await ping(socket)

        await browser.post("/auth/logout")
        last: dict[str, Any] = {}
        async with asyncio.timeout(BEAT_SECONDS + STALL_SECONDS):
            with contextlib.suppress(websockets.ConnectionClosedError):
                async for message in socket:
                    last = msgspec.json.decode(message)

    assert reply["type"] == "pong"
    assert (last["code"], socket.close_code) == ("signed_out", 4401)


@pytest.mark.parametrize("origin", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {}])
async def test_pages_of_other_origins_cannot_watch(
    login_env: LoginEnv, browser: Browser, origin: dict[str, str]
) -> None:
    await browser.sign_in("corp")

    async with watch(login_env, browser, **origin) as socket:
        with contextlib.suppress(websockets.ConnectionClosedError):
            await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS)

    assert socket.close_code == 4403
