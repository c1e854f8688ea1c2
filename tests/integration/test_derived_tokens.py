"""A job token gives no more than the credential that made it, and ends with it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import websockets

from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.browser import Browser
from support.harness import Api, register_pipelines
from support.login_env import LoginEnv
from support.patience import STALL_SECONDS, open_socket
from support.users import Person, bearer, behind_proxy

# A revoked credential is refused within a second, and a stream ends within a beat.
CACHE_SECONDS = 1.0
BEAT_SECONDS = 10.0 + STALL_SECONDS


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return behind_proxy(module_settings)


@pytest.fixture
def ada(api: Api) -> Person:
    return Person(api, "ada")


async def make(api: Api, job_id: str, headers: dict[str, str], scope: str = "read") -> Any:
    return await api.http.post(f"/api/v1/jobs/{job_id}/tokens", json={"scope": scope}, headers=headers)


async def make_token(api: Api, job_id: str, headers: dict[str, str], scope: str = "read") -> str:
    response = await make(api, job_id, headers, scope)
    assert response.status_code == 201, response.text
    token: str = response.json()["token"]
    return token


async def status_of(api: Api, job_id: str, token: str) -> int:
    return (await api.http.get(f"/api/v1/jobs/{job_id}", headers=bearer(token))).status_code


async def saved_file(database: StatementPool, job_id: str, file_id: str) -> None:
    """Make an uploaded file one that the job has saved."""
    await database.fetch("UPDATE files SET job_id = $1, step = 'tick' WHERE id = $2", job_id, file_id)


@pytest.mark.parametrize("scope", ["read", "cancel"])
async def test_a_key_that_may_not_read_jobs_makes_no_token(api: Api, ada: Person, scope: str) -> None:
    job_id = await ada.submit()
    writer = bearer((await ada.key("jobs:write", "files:read"))["key"])

    response = await make(api, job_id, writer, scope)

    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert "jobs:read" in response.json()["detail"]


async def test_a_token_opens_files_only_if_its_maker_may(
    api: Api, ada: Person, database: StatementPool
) -> None:
    job_id = await ada.submit()
    file_id = (await ada.ask("POST", "/files", files={"file": b"x"})).json()["id"]
    await saved_file(database, job_id, file_id)
    content = f"/api/v1/files/{file_id}/content"
    keys = [
        (await ada.key("jobs:read", "jobs:write", *more))["key"] for more in ([], ["files:read"], ["files:*"])
    ]

    tokens = [await make_token(api, job_id, bearer(key)) for key in keys]
    opened = [await api.http.get(content, params={"token": token}) for token in tokens]
    jobs = [await status_of(api, job_id, token) for token in tokens]

    assert [response.status_code for response in opened] == [403, 200, 200]
    assert jobs == [200, 200, 200]


async def test_a_token_ends_with_its_key(api: Api, ada: Person) -> None:
    job_id = await ada.submit()
    api_key, other_key = [await ada.key("jobs:read", "jobs:write") for _ in range(2)]
    token = await make_token(api, job_id, bearer(api_key["key"]), "cancel")
    other_token = await make_token(api, job_id, bearer(other_key["key"]))
    before = [await status_of(api, job_id, each) for each in (token, other_token)]

    await ada.ask("DELETE", f"/api-keys/{api_key['id']}")
    await asyncio.sleep(CACHE_SECONDS)
    after = [await status_of(api, job_id, each) for each in (token, other_token)]
    cancelled = await api.http.post(f"/api/v1/jobs/{job_id}/cancel", headers=bearer(token))

    assert before == [200, 200]
    assert after == [401, 200]
    assert cancelled.json()["code"] == "token_invalid"


async def test_a_token_does_not_outlive_its_expiring_key(
    api: Api, ada: Person, database: StatementPool
) -> None:
    job_id = await ada.submit()
    expires_at = datetime.now(UTC) + timedelta(minutes=5)
    api_key = await ada.key("jobs:read", "jobs:write", expires_at=str(expires_at))
    response = await make(api, job_id, bearer(api_key["key"]))
    shown = datetime.fromisoformat(response.json()["expires_at"])

    await database.fetch("UPDATE api_keys SET expires_at = now() - interval '1 s'")

    assert expires_at - timedelta(seconds=1) <= shown <= expires_at
    assert await status_of(api, job_id, response.json()["token"]) == 401


async def test_an_admins_token_for_a_foreign_job_ends_with_the_admin_rights(api: Api, ada: Person) -> None:
    job_id = await ada.submit()
    root, bob = Person(api, "root"), Person(api, "bob")
    bob_id = (await bob.ask("GET", "/me")).json()["id"]
    await root.ask("PATCH", f"/users/{bob_id}", json={"is_admin": True})
    await asyncio.sleep(CACHE_SECONDS)
    tokens = [
        await make_token(api, job_id, bob.headers),
        await make_token(api, job_id, bearer((await bob.key("admin"))["key"])),
        await make_token(api, job_id, root.headers),
        await make_token(api, await bob.submit(), bob.headers),
    ]
    before = [await status_of(api, job_id, token) for token in tokens]

    await root.ask("PATCH", f"/users/{bob_id}", json={"is_admin": False})
    await asyncio.sleep(CACHE_SECONDS)
    after = [await status_of(api, job_id, token) for token in tokens]
    await root.ask("DELETE", f"/users/{bob_id}")
    await asyncio.sleep(CACHE_SECONDS)
    deleted = [await status_of(api, job_id, token) for token in tokens[:3]]

    # Not even an admin's token reaches beyond its job.
    assert before == [200, 200, 200, 404]
    assert after == [401, 401, 200, 404]
    assert deleted == [401, 401, 200]


@pytest.mark.parametrize("end", ["deleted", "expired"])
@pytest.mark.parametrize("transport", ["socket", "events"])
async def test_streams_of_a_token_end_within_a_beat_after_its_key(
    api: Api, ada: Person, database: StatementPool, transport: str, end: str
) -> None:
    job_id = await ada.submit()
    expires_at = str(datetime.now(UTC) + timedelta(hours=1))
    api_key = await ada.key("jobs:read", "jobs:write", expires_at=expires_at)
    token = await make_token(api, job_id, bearer(api_key["key"]))

    async def revoke() -> None:
        if end == "deleted":
            await ada.ask("DELETE", f"/api-keys/{api_key['id']}")
        else:
            await database.fetch("UPDATE api_keys SET expires_at = now()")

    frames: list[dict[str, Any]] = []
    if transport == "socket":
        async with open_socket(f"{api.ws}/api/v1/jobs/{job_id}/ws?token={token}") as socket:
            await socket.recv()
            async with asyncio.timeout(BEAT_SECONDS):
                await revoke()
                try:
                    while True:
                        frames.append(msgspec.json.decode(await socket.recv()))
                except websockets.ConnectionClosed:
                    assert socket.close_code == 4401
    else:
        url = f"/api/v1/jobs/{job_id}/stream"
        async with api.http.stream("GET", url, params={"token": token}) as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            async with asyncio.timeout(BEAT_SECONDS):
                await revoke()
                sent = [line.removeprefix("data: ") async for line in lines if line.startswith("data: ")]
                frames = [msgspec.json.decode(line) for line in sent]

    assert (frames[-1]["type"], frames[-1]["code"]) == ("error", "signed_out")


async def test_a_token_of_a_session_ends_with_the_sign_out(login_env: LoginEnv, browser: Browser) -> None:
    api = login_env.api
    tokens = (await browser.sign_in("corp", mode="token")).json()
    session = bearer(tokens["access_token"])
    await register_pipelines(login_env.settings)
    submitted = await api.http.post("/api/v1/jobs", json={"pipeline": "noop"}, headers=session)
    job_id = submitted.json()["id"]
    token = await make_token(api, job_id, session)
    before = await status_of(api, job_id, token)

    refreshed = await api.http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    await asyncio.sleep(CACHE_SECONDS)
    between = await status_of(api, job_id, token)
    newest = bearer(refreshed.json()["access_token"])
    async with open_socket(f"{api.ws}/api/v1/jobs/{job_id}/ws?token={token}") as socket:
        await socket.recv()
        await api.http.post("/auth/logout", headers=newest)
        async with asyncio.timeout(BEAT_SECONDS):
            await socket.wait_closed()
    await asyncio.sleep(CACHE_SECONDS)

    assert (before, between) == (200, 200)
    assert socket.close_code == 4401
    assert await status_of(api, job_id, token) == 401
