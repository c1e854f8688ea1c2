"""Streams of callers who lose their access while they watch close with 4401 within a beat."""

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest
import websockets

from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import Api
from support.patience import PATIENCE_SECONDS, STALL_SECONDS, open_socket
from support.users import Person, bearer, behind_proxy, named

BEAT_SECONDS = 10


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return behind_proxy(module_settings)


@pytest.fixture
def ada(api: Api) -> Person:
    return Person(api, "ada")


async def end_of(socket: websockets.ClientConnection) -> tuple[dict[str, Any], int]:
    """Return the last frame and the close code."""
    last: dict[str, Any] = {}
    async with asyncio.timeout(BEAT_SECONDS + STALL_SECONDS):
        with contextlib.suppress(websockets.ConnectionClosedError):
            async for message in socket:
                last = msgspec.json.decode(message)
    assert socket.close_code is not None
    return last, socket.close_code


@pytest.mark.parametrize("path", ["/api/v1/jobs/{}/ws", "/api/v1/ws"])
async def test_revoking_a_key_closes_its_sockets(api: Api, ada: Person, path: str) -> None:
    job_id = await ada.submit()
    api_key = await ada.key("jobs:read")
    async with (
        open_socket(api.ws + path.format(job_id), additional_headers=bearer(api_key["key"])) as socket,
        open_socket(api.ws + path.format(job_id), additional_headers=ada.headers) as other,
    ):
        await socket.recv()

        await ada.ask("DELETE", f"/api-keys/{api_key['id']}")
        last, code = await end_of(socket)

        assert (last["type"], last["code"], code) == ("error", "signed_out", 4401)
        await other.send('{"type":"ping"}')
        while msgspec.json.decode(await asyncio.wait_for(other.recv(), PATIENCE_SECONDS))["type"] != "pong":
            pass


async def test_expired_and_revoked_job_tokens_close_their_sockets(api: Api, ada: Person) -> None:
    job_id = await ada.submit()
    short = (await ada.ask("POST", f"/jobs/{job_id}/tokens", json={"expires_in": 2})).json()["token"]
    revoked = (await ada.ask("POST", f"/jobs/{job_id}/tokens", json={})).json()["token"]
    url = f"{api.ws}/api/v1/jobs/{job_id}/ws?token="

    async with open_socket(url + short) as first, open_socket(url + revoked) as second:
        await first.recv()
        await ada.ask("DELETE", f"/jobs/{job_id}/tokens")
        ends = [await end_of(first), await end_of(second)]

    assert [code for _, code in ends] == [4401, 4401]


async def test_deleting_a_user_ends_their_event_streams(
    api: Api, ada: Person, database: StatementPool
) -> None:
    job_id = await ada.submit()

    lines: list[str] = []
    async with (
        asyncio.timeout(BEAT_SECONDS + STALL_SECONDS),
        api.http.stream("GET", f"/api/v1/jobs/{job_id}/stream", headers=ada.headers) as stream,
    ):
        async for line in stream.aiter_lines():
            if line and not lines:
                # Keep the user's jobs, so that only the user itself is missing.
                await database.fetch("UPDATE jobs SET owner_id = $1", await _other_user_id(api))
                await database.fetch("DELETE FROM users WHERE username = 'ada'")
            lines += [line] if line else []

    assert msgspec.json.decode(lines[-1].removeprefix("data: "))["code"] == "signed_out"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 4401),
        ({"Authorization": "Bearer hr_nothing"}, 4401),
        ({**named("ada"), "X-Headrace-Proxy-Secret": "a guess"}, 4401),
        ({**named("ada"), "Origin": "https://evil.example"}, 4403),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/jobs/01a1ff51-6003-7274-a0cb-ac22f3cf0e76/ws", "/api/v1/ws"])
async def test_unauthorized_watchers_get_only_a_close_code(
    api: Api, path: str, headers: dict[str, str], code: int
) -> None:
    async with open_socket(api.ws + path, additional_headers=headers) as socket:
        last, closed = await end_of(socket)

    assert (last, closed) == ({}, code)


async def test_demoting_an_admin_closes_their_sockets_of_foreign_jobs(api: Api, ada: Person) -> None:
    job_id = await ada.submit()
    root, bob = Person(api, "root"), Person(api, "bob")
    bob_id = (await bob.ask("GET", "/me")).json()["id"]
    await root.ask("PATCH", f"/users/{bob_id}", json={"is_admin": True})
    await asyncio.sleep(1)
    url = f"{api.ws}/api/v1/jobs/{job_id}/ws"

    async with (
        open_socket(url, additional_headers=bob.headers) as socket,
        open_socket(url, additional_headers=root.headers) as named_in_settings,
    ):
        await socket.recv()
        await root.ask("PATCH", f"/users/{bob_id}", json={"is_admin": False})
        _, code = await end_of(socket)
        await named_in_settings.send('{"type":"ping"}')
        while (
            msgspec.json.decode(await asyncio.wait_for(named_in_settings.recv(), PATIENCE_SECONDS))["type"]
            != "pong"
        ):
            pass

    assert code == 4401


async def test_a_foreign_origin_gets_no_event_stream(api: Api, ada: Person) -> None:
    job_id = await ada.submit()

    response = await ada.ask("GET", f"/jobs/{job_id}/stream", headers={"Origin": "https://evil.example"})

    assert (response.status_code, response.json()["code"]) == (403, "origin_refused")


async def test_only_an_admin_can_watch_the_jobs_of_another_user(api: Api, ada: Person) -> None:
    job_id = await ada.submit()
    path = f"{api.ws}/api/v1/ws?owner={(await ada.ask('GET', '/me')).json()['id']}"

    async with open_socket(path, additional_headers=named("root")) as socket:
        seen = msgspec.json.decode(await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS))
    async with open_socket(path, additional_headers=named("bob")) as socket:
        _, code = await end_of(socket)

    assert (seen["job_id"], code) == (job_id, 4404)


async def _other_user_id(api: Api) -> Any:
    return (await api.http.get("/api/v1/me", headers=named("bob"))).json()["id"]
