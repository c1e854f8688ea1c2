"""Job tokens: access to one job, issued here or by a backend, short-lived, revoked per job."""

import asyncio
import time
from typing import Any

import msgspec
import pytest
import websockets
from joserfc import jwt
from joserfc.jwk import OctKey

from headrace.settings import Settings
from support.harness import Api
from support.patience import PATIENCE_SECONDS, open_socket
from support.users import JOB_KEY, Person, bearer, behind_proxy


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return behind_proxy(module_settings)


@pytest.fixture
def ada(api: Api) -> Person:
    return Person(api, "ada")


def minted(job_id: str, key: str = JOB_KEY, **claims: Any) -> str:
    """Return a token that a backend signs without calling the service."""
    now = time.time()
    payload = {"aud": "headrace:job", "sub": job_id, "scope": "read", "iat": now, "exp": now + 60, **claims}
    return jwt.encode({"alg": "HS256"}, payload, OctKey.import_key(key.encode()))


async def token_of(ada: Person, job_id: str, **body: Any) -> str:
    response = await ada.ask("POST", f"/jobs/{job_id}/tokens", json=body)
    assert response.status_code == 201, response.text
    token: str = response.json()["token"]
    return token


async def first_frame(api: Api, job_id: str, token: str) -> dict[str, Any] | int:
    """Return the first frame, or the close code."""
    url = f"{api.ws}/api/v1/jobs/{job_id}/ws?token={token}"
    async with open_socket(url, origin=websockets.Origin("https://app.example")) as socket:
        try:
            frame: dict[str, Any] = msgspec.json.decode(
                await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS)
            )
        except websockets.ConnectionClosed:
            return socket.close_code or 0
        return frame


@pytest.mark.parametrize("maker", ["service", "backend"])
async def test_a_job_token_grants_access_to_its_job_on_every_transport(
    api: Api, ada: Person, maker: str
) -> None:
    job_id = await ada.submit()
    token = await token_of(ada, job_id) if maker == "service" else minted(job_id)

    frame = await first_frame(api, job_id, token)
    responses = [
        await api.http.get(f"/api/v1/jobs/{job_id}", params={"token": token}),
        await api.http.get(f"/api/v1/jobs/{job_id}/events", headers=bearer(token)),
        await api.http.get(f"/api/v1/jobs/{job_id}/steps", headers=bearer(token)),
        await api.http.get(f"/api/v1/jobs/{job_id}/files", headers=bearer(token)),
    ]
    async with api.http.stream("GET", f"/api/v1/jobs/{job_id}/stream", params={"token": token}) as stream:
        line = await anext(stream.aiter_lines())

    assert isinstance(frame, dict)
    assert (frame["type"], frame["job_id"]) == ("hello", job_id)
    assert [response.status_code for response in responses] == [200] * 4
    assert line.startswith("data: {")


async def test_a_job_token_grants_access_to_nothing_else(api: Api, ada: Person) -> None:
    job_id, other = await ada.submit(), await ada.submit()
    token = await token_of(ada, job_id)

    foreign = [
        await api.http.get(f"/api/v1/jobs/{other}", headers=bearer(token)),
        await api.http.get(f"/api/v1/jobs/{other}/events", headers=bearer(token)),
    ]
    forbidden = [
        await api.http.get("/api/v1/jobs", headers=bearer(token)),
        await api.http.get("/api/v1/me", headers=bearer(token)),
        await api.http.post("/api/v1/jobs", json={"pipeline": "noop"}, headers=bearer(token)),
        await api.http.delete(f"/api/v1/jobs/{job_id}", headers=bearer(token)),
        await api.http.post(f"/api/v1/jobs/{job_id}/cancel", headers=bearer(token)),
        await api.http.post(f"/api/v1/jobs/{job_id}/tokens", json={}, headers=bearer(token)),
    ]

    assert [response.status_code for response in foreign] == [404, 404]
    assert [response.status_code for response in forbidden] == [403] * 6
    assert await first_frame(api, other, token) == 4404


async def test_a_job_token_does_not_open_files_outside_its_job(api: Api, ada: Person) -> None:
    upload = await ada.ask("POST", "/files", files={"file": b"x"})
    token = await token_of(ada, await ada.submit())

    response = await api.http.get(f"/api/v1/files/{upload.json()['id']}/content", headers=bearer(token))

    assert response.status_code == 404


async def test_a_cancel_token_can_cancel_its_job(api: Api, ada: Person) -> None:
    job_id = await ada.submit()
    token = await token_of(ada, job_id, scope="cancel")

    response = await api.http.post(f"/api/v1/jobs/{job_id}/cancel", headers=bearer(token))

    assert (response.status_code, response.json()["state"]) == (202, "cancelled")


async def test_cancelling_over_a_socket_requires_the_cancel_scope(api: Api, ada: Person) -> None:
    job_id = await ada.submit()
    url = f"{api.ws}/api/v1/jobs/{job_id}/ws?token="

    async with open_socket(url + await token_of(ada, job_id)) as socket:
        await socket.send('{"type":"cancel"}')
        frames = [
            msgspec.json.decode(await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS)) for _ in range(3)
        ]
    async with open_socket(url + await token_of(ada, job_id, scope="cancel")) as socket:
        await socket.send('{"type":"cancel"}')
        done = [msgspec.json.decode(message)["type"] async for message in socket]

    assert [frame["code"] for frame in frames if frame["type"] == "error"] == ["forbidden"]
    assert done[-2:] == ["job.cancelled", "end"]


async def test_all_tokens_of_a_job_are_revoked_together(api: Api, ada: Person) -> None:
    job_id, other = await ada.submit(), await ada.submit()
    tokens = [await token_of(ada, job_id), minted(job_id), await token_of(ada, other)]

    revoked = await ada.ask("DELETE", f"/jobs/{job_id}/tokens")
    later = await token_of(ada, job_id)
    responses = [
        await api.http.get(f"/api/v1/jobs/{target_id}", headers=bearer(token))
        for target_id, token in zip([job_id, job_id, other, job_id], [*tokens, later], strict=True)
    ]

    assert revoked.status_code == 204
    assert [response.status_code for response in responses] == [401, 401, 200, 200]


async def test_invalid_job_tokens_are_refused(api: Api, ada: Person) -> None:
    job_id = await ada.submit()
    now = time.time()
    wrong = {
        "another key": minted(job_id, key="a key of somebody else"),
        "another audience": minted(job_id, aud="headrace:api"),
        "no audience": minted(job_id, aud=""),
        "no job": minted("x"),
        "another right": minted(job_id, scope="everything"),
        "too long": minted(job_id, exp=now + 25 * 3600),
        "from the future": minted(job_id, iat=now + 3600, exp=now + 7200),
        "not yet": minted(job_id, nbf=now + 30),
        "no end": minted(job_id, exp=None),
        "a job that is not there": minted("01a1ff51-6003-7274-a0cb-ac22f3cf0e76"),
        "garbage": "a.b.c",
    }

    responses = {
        name: await api.http.get(f"/api/v1/jobs/{job_id}", headers=bearer(token))
        for name, token in wrong.items()
    }
    expired = await api.http.get(f"/api/v1/jobs/{job_id}", headers=bearer(minted(job_id, exp=now - 1)))

    assert {name: response.json()["code"] for name, response in responses.items()} == dict.fromkeys(
        wrong, "token_invalid"
    )
    assert (expired.status_code, expired.json()["code"]) == (401, "token_expired")


async def test_api_keys_in_urls_are_refused(api: Api, ada: Person) -> None:
    job_id = await ada.submit()
    key = (await ada.key("jobs:read"))["key"]

    response = await api.http.get(f"/api/v1/jobs/{job_id}", params={"token": key})

    assert (response.status_code, response.json()["code"]) == (401, "token_invalid")
    assert await first_frame(api, job_id, key) == 4401
