"""What knowing the caller costs: p50 of GET /jobs/{id} with each proof, against that of letting everybody in.

An API process for each, all on one database, asked in turns over a connection each, one request at a time.
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
    Stage,
    arguments,
    fetch,
    free_port,
    owner_of,
    processes,
    ready,
    report,
    runs_of,
    stage,
    submit,
)

from headrace.api.auth.tokens import Tokens
from headrace.domain.accounts.keys import make_key

_SECRET: Final = "the key of a benchmark, not a secret"  # noqa: S105
_NOBODY: Final = "let in without a look"
_MODES: Final = {
    _NOBODY: "local",
    "proxy": "proxy",
    "API key": "token",
    "session": "token",
    "job token": "token",
}
_ENVIRONMENT: Final = {"HEADRACE_TRUSTED_PROXIES": "127.0.0.1", "HEADRACE_SECRET_KEY": _SECRET}
_ADD_KEY: Final = """
INSERT INTO api_keys (id, owner_id, name, prefix, digest, scopes, created_at, updated_at)
VALUES (gen_random_uuid(), $1, 'bench', $2, $3, '{jobs:read}', now(), now())
"""
_ADD_SESSION: Final = """
INSERT INTO login_sessions (id, user_id, expires_at, created_at, updated_at)
VALUES ($1, $2, now() + interval '1 day', now(), now())
"""


class Asker:
    """Asks for one job again and again, and keeps how long each answer took."""

    def __init__(self, port: int, job_id: UUID, *headers: str) -> None:
        lines = [f"GET /api/v1/jobs/{job_id} HTTP/1.1", "Host: localhost", *headers, "", ""]
        self._request = "\r\n".join(lines).encode()
        self._port = port
        self.took: list[float] = []

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self) -> None:
        began = time.perf_counter()
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        await self._reader.readexactly(length)
        self.took.append(time.perf_counter() - began)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())

    def close(self) -> None:
        self._writer.close()


def main() -> None:
    wanted = arguments(__doc__, requests=1_000)
    with stage() as made:
        ports = {proof: free_port() for proof in _MODES}
        with ExitStack() as running:
            running.enter_context(processes(made, ["worker", "--queue", "nobody"]))
            for proof, mode in _MODES.items():
                command = ["api", "--port", str(ports[proof])]
                running.enter_context(processes(made, command, HEADRACE_AUTH=mode, **_ENVIRONMENT))
            figures: dict[str, Any] = runs_of(lambda: asyncio.run(measure(made, ports, wanted.requests)))
    report(f"authentication, {wanted.requests:,} requests each", figures, wanted.json)


async def measure(made: Stage, ports: dict[str, int], requests: int) -> dict[str, float]:
    for port in ports.values():
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await ready(client)
    askers = await _askers(made, ports)
    for asker in askers.values():
        await asker.connect()
    for number in range(requests + requests // 10):
        if number == requests // 10:
            for asker in askers.values():
                asker.took.clear()
        for asker in askers.values():
            await asker.ask()
    for asker in askers.values():
        asker.close()
    middle = {name: statistics.median(asker.took) * 1000 for name, asker in askers.items()}
    ratios = {
        f"{name} / {_NOBODY}": value / middle[_NOBODY] for name, value in middle.items() if name != _NOBODY
    }
    return {f"{name}, p50 ms": value for name, value in middle.items()} | ratios


async def _askers(made: Stage, ports: dict[str, int]) -> dict[str, Asker]:
    """One for each proof, all for a job of the same owner but the dev user's."""
    owner, session, now = await owner_of(made.database_url), uuid4(), datetime.now(UTC)
    await fetch(made.database_url, "DELETE FROM jobs")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports[_NOBODY]}") as client:
        answer = await client.post(
            "/api/v1/jobs", json={"pipeline": "noop", "run_at": str(now + timedelta(days=1))}
        )
        devs = UUID(answer.raise_for_status().json()["id"])
    await submit(made.database_url, 1)
    ((job_id,),) = await fetch(made.database_url, "SELECT id FROM jobs WHERE owner_id = $1", owner)
    key = make_key()
    await fetch(made.database_url, _ADD_KEY, owner, key.prefix, key.digest)
    await fetch(made.database_url, _ADD_SESSION, session, owner)
    tokens = Tokens(_SECRET, None)
    access = tokens.access(session, owner, now=now)
    watching = tokens.job(job_id, "read", now=now, until=now + timedelta(hours=1))
    asked = {
        _NOBODY: Asker(ports[_NOBODY], devs),
        "proxy": Asker(ports["proxy"], job_id, "X-Forwarded-User: bench"),
    }
    for proof, text in (("API key", key.text), ("session", access), ("job token", watching)):
        asked[proof] = Asker(ports[proof], job_id, f"Authorization: Bearer {text}")
    return asked


if __name__ == "__main__":
    main()
