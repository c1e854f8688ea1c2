"""A page of a stranger whose name points to this machine gets nothing from local mode (DNS rebinding)."""

import asyncio
from urllib.parse import urlsplit

import msgspec
import pytest
import websockets

from headrace.settings import Settings
from support.harness import Api
from support.patience import PATIENCE_SECONDS, open_socket

REBOUND = {"Host": "evil.example", "Origin": "http://evil.example"}


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    """Settings of a container whose port is published: the service listens beyond loopback."""
    return msgspec.structs.replace(module_settings, allow_remote=True, allowed_hosts=("jobs.lan",))


async def test_a_rebound_page_can_neither_submit_nor_read(api: Api) -> None:
    job = await api.submit("noop")

    answers = [
        await api.http.post("/api/v1/jobs", json={"pipeline": "noop"}, headers=REBOUND),
        await api.http.post("/graphql", json={"query": "{ me { id } }"}, headers=REBOUND),
        await api.http.get(f"/api/v1/jobs/{job['id']}", headers=REBOUND),
        await api.http.get("/openapi.json", headers=REBOUND),
        await api.http.get("/docs", headers=REBOUND),
        await api.http.post("/auth/logout", headers=REBOUND),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (403, "origin_refused")
    ] * 6


async def test_a_rebound_page_can_watch_nothing(api: Api) -> None:
    job = await api.submit("noop")

    for path in (f"/api/v1/jobs/{job['id']}/ws", "/api/v1/ws"):
        origin, port = websockets.Origin("http://evil.example"), urlsplit(api.ws).port
        # The name leads to this machine.
        async with open_socket(
            f"ws://evil.example{path}", origin=origin, host="127.0.0.1", port=port
        ) as socket:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await socket.wait_closed()
            assert socket.close_code == 4403


async def test_listed_names_and_addresses_are_answered(api: Api) -> None:
    for host in ("jobs.lan", "localhost:8000", "127.0.0.1", "[::1]:8000"):
        answer = await api.http.post(
            "/api/v1/jobs", json={"pipeline": "noop"}, headers={"Host": host, "Origin": f"http://{host}"}
        )
        assert answer.status_code == 202, host


async def test_probes_are_answered_by_every_name(api: Api) -> None:
    assert (await api.http.get("/health/live", headers={"Host": "api"})).status_code == 200
