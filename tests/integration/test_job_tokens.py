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


async def token_of(ada: Person, job_id: str, **order: Any) -> str:
    answer = await ada.ask("POST", f"/jobs/{job_id}/tokens", json=order)
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token


async def first_frame(api: Api, job_id: str, token: str) -> dict[str, Any] | int:
    """Return the first frame, or the close code."""
    url = f"{api.ws}/api/v1/jobs/{job_id}/ws?token={token}"
    async with websockets.connect(url, origin=websockets.Origin("https://app.example")) as socket:
        try:
            frame: dict[str, Any] = msgspec.json.decode(await asyncio.wait_for(socket.recv(), 5))
        except websockets.ConnectionClosed:
            return socket.close_code or 0
        return frame


@pytest.mark.parametrize("maker", ["service", "backend"])
async def test_a_token_opens_its_job_on_every_transport(api: Api, ada: Person, maker: str) -> None:
    job_id = await ada.submit()
    token = await token_of(ada, job_id) if maker == "service" else minted(job_id)

    frame = await first_frame(api, job_id, token)
    answers = [
        await api.http.get(f"/api/v1/jobs/{job_id}", params={"token": token}),
        await api.http.get(f"/api/v1/jobs/{job_id}/events", headers=bearer(token)),
        await api.http.get(f"/api/v1/jobs/{job_id}/steps", headers=bearer(token)),
        await api.http.get(f"/api/v1/jobs/{job_id}/files", headers=bearer(token)),
    ]
    async with api.http.stream("GET", f"/api/v1/jobs/{job_id}/stream", params={"token": token}) as stream:
        line = await anext(stream.aiter_lines())

    assert isinstance(frame, dict)
    assert (frame["type"], frame["job_id"]) == ("hello", job_id)
    assert [answer.status_code for answer in answers] == [200] * 4
    assert line.startswith("data: {")


async def test_it_is_good_for_nothing_else(api: Api, ada: Person) -> None:
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

    assert [answer.status_code for answer in foreign] == [404, 404]
    assert [answer.status_code for answer in forbidden] == [403] * 6
    assert await first_frame(api, other, token) == 4404


async def test_it_opens_the_files_of_its_job_alone(api: Api, ada: Person) -> None:
    upload = await ada.ask("POST", "/files", files={"file": b"x"})
    token = await token_of(ada, await ada.submit())

    answer = await api.http.get(f"/api/v1/files/{upload.json()['id']}/content", headers=bearer(token))

    assert answer.status_code == 404


async def test_one_for_cancelling_cancels(api: Api, ada: Person) -> None:
    job_id = await ada.submit()
    token = await token_of(ada, job_id, scope="cancel")

    answer = await api.http.post(f"/api/v1/jobs/{job_id}/cancel", headers=bearer(token))

    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")


async def test_the_word_cancel_on_a_socket_needs_that_right(api: Api, ada: Person) -> None:
    job_id = await ada.submit()
    url = f"{api.ws}/api/v1/jobs/{job_id}/ws?token="

    async with websockets.connect(url + await token_of(ada, job_id)) as socket:
        await socket.send('{"type":"cancel"}')
        frames = [msgspec.json.decode(await asyncio.wait_for(socket.recv(), 5)) for _ in range(3)]
    async with websockets.connect(url + await token_of(ada, job_id, scope="cancel")) as socket:
        await socket.send('{"type":"cancel"}')
        done = [msgspec.json.decode(message)["type"] async for message in socket]

    assert [frame["code"] for frame in frames if frame["type"] == "error"] == ["forbidden"]
    assert done[-2:] == ["job.cancelled", "end"]


async def test_all_tokens_of_a_job_are_revoked_together(api: Api, ada: Person) -> None:
    job_id, other = await ada.submit(), await ada.submit()
    tokens = [await token_of(ada, job_id), minted(job_id), await token_of(ada, other)]

    revoked = await ada.ask("DELETE", f"/jobs/{job_id}/tokens")
    later = await token_of(ada, job_id)
    answers = [
        await api.http.get(f"/api/v1/jobs/{target_id}", headers=bearer(token))
        for target_id, token in zip([job_id, job_id, other, job_id], [*tokens, later], strict=True)
    ]

    assert revoked.status_code == 204
    assert [answer.status_code for answer in answers] == [401, 401, 200, 200]


async def test_tokens_that_do_not_count(api: Api, ada: Person) -> None:
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

    answers = {
        name: await api.http.get(f"/api/v1/jobs/{job_id}", headers=bearer(token))
        for name, token in wrong.items()
    }
    expired = await api.http.get(f"/api/v1/jobs/{job_id}", headers=bearer(minted(job_id, exp=now - 1)))

    assert {name: answer.json()["code"] for name, answer in answers.items()} == dict.fromkeys(
        wrong, "token_invalid"
    )
    assert (expired.status_code, expired.json()["code"]) == (401, "token_expired")


async def test_a_long_lived_secret_in_a_url_is_not_looked_at(api: Api, ada: Person) -> None:
    job_id = await ada.submit()
    key = (await ada.key("jobs:read"))["key"]

    answer = await api.http.get(f"/api/v1/jobs/{job_id}", params={"token": key})

    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
    assert await first_frame(api, job_id, key) == 4401
