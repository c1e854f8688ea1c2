"""Measures the cost of authentication: p50 of GET /jobs/{id} per kind of credential, against open access.

Each kind has its own API process and connection, all on one database. They take turns, one request at a time.
"""

import asyncio
import statistics
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
from common import (
    BenchEnv,
    arguments,
    bench_environment,
    fetch,
    free_port,
    owner_of,
    processes,
    ready,
    report,
    runs_of,
    submit,
)

from headrace.api.auth.tokens import Tokens
from headrace.domain.accounts.keys import make_key

_SECRET: Final = "the key of a benchmark, not a secret"  # noqa: S105
_OPEN: Final = "open access"
_MODES: Final = {
    _OPEN: "local",
    "proxy": "proxy",
    "API key": "token",
    "session": "token",
    "job token": "token",
}
_ENVIRONMENT: Final = {"HEADRACE_TRUSTED_PROXIES": "127.0.0.1", "HEADRACE_SECRET_KEY": _SECRET}
_INSERT_KEY: Final = """
INSERT INTO api_keys (id, owner_id, name, prefix, digest, scopes, created_at, updated_at)
VALUES (gen_random_uuid(), $1, 'bench', $2, $3, '{jobs:read}', now(), now())
"""
_INSERT_SESSION: Final = """
INSERT INTO login_sessions (id, user_id, expires_at, created_at, updated_at)
VALUES ($1, $2, now() + interval '1 day', now(), now())
"""


class TimedClient:
    """Requests one job repeatedly over one connection, and keeps the seconds that each response took."""

    def __init__(self, port: int, job_id: UUID, *headers: str) -> None:
        lines = [f"GET /api/v1/jobs/{job_id} HTTP/1.1", "Host: localhost", *headers, "", ""]
        self._request_bytes = "\r\n".join(lines).encode()
        self._port = port
        self.seconds: list[float] = []

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def request(self) -> None:
        began = time.perf_counter()
        self._writer.write(self._request_bytes)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        await self._reader.readexactly(length)
        self.seconds.append(time.perf_counter() - began)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())

    def close(self) -> None:
        self._writer.close()


def main() -> None:
    options = arguments(__doc__, requests=1_000)
    with bench_environment() as env:
        ports = {kind: free_port() for kind in _MODES}
        with ExitStack() as running:
            running.enter_context(processes(env, ["worker", "--queue", "nobody"]))
            for kind, mode in _MODES.items():
                command = ["api", "--port", str(ports[kind])]
                running.enter_context(processes(env, command, HEADRACE_AUTH=mode, **_ENVIRONMENT))
            figures: dict[str, Any] = runs_of(lambda: asyncio.run(measure(env, ports, options.requests)))
    report(f"authentication, {options.requests:,} requests each", figures, options.json)


async def measure(env: BenchEnv, ports: dict[str, int], requests: int) -> dict[str, float]:
    for port in ports.values():
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            await ready(http)
    clients = await _open_clients(env, ports)
    for client in clients.values():
        await client.connect()
    for number in range(requests + requests // 10):
        if number == requests // 10:
            for client in clients.values():
                client.seconds.clear()
        for client in clients.values():
            await client.request()
    for client in clients.values():
        client.close()
    medians = {name: statistics.median(client.seconds) * 1000 for name, client in clients.items()}
    ratios = {f"{name} / {_OPEN}": value / medians[_OPEN] for name, value in medians.items() if name != _OPEN}
    return {f"{name}, p50 ms": value for name, value in medians.items()} | ratios


async def _open_clients(env: BenchEnv, ports: dict[str, int]) -> dict[str, TimedClient]:
    """Return a client per kind of credential; all request a job of the same owner, except open access."""
    owner, session, now = await owner_of(env.database_url), uuid4(), datetime.now(UTC)
    await fetch(env.database_url, "DELETE FROM jobs")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports[_OPEN]}") as client:
        response = await client.post(
            "/api/v1/jobs", json={"pipeline": "noop", "run_at": str(now + timedelta(days=1))}
        )
        open_job_id = UUID(response.raise_for_status().json()["id"])
    await submit(env.database_url, 1)
    ((job_id,),) = await fetch(env.database_url, "SELECT id FROM jobs WHERE owner_id = $1", owner)
    key = make_key()
    await fetch(env.database_url, _INSERT_KEY, owner, key.prefix, key.digest)
    await fetch(env.database_url, _INSERT_SESSION, session, owner)
    tokens = Tokens(_SECRET, None)
    access = tokens.issue_access(session, owner, now=now)
    job_token = tokens.issue_job(job_id, "read", now=now, until=now + timedelta(hours=1))
    timed_clients = {
        _OPEN: TimedClient(ports[_OPEN], open_job_id),
        "proxy": TimedClient(ports["proxy"], job_id, "X-Forwarded-User: bench"),
    }
    for kind, text in (("API key", key.text), ("session", access), ("job token", job_token)):
        timed_clients[kind] = TimedClient(ports[kind], job_id, f"Authorization: Bearer {text}")
    return timed_clients


if __name__ == "__main__":
    main()
