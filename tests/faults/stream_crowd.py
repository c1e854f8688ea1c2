"""Many clients that submit and watch jobs, each at a random API process."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final
from uuid import uuid4

import httpx

from faults.stream_clients import REFUSALS, TIMEOUT_SECONDS, StreamClient
from faults.stream_judge import ClientRecord
from support.harness import TLS

_MAX_TRIES: Final = 200
_MIN_CLIENTS: Final = 1
_TIMEOUT_SECONDS: Final = 300.0


class Crowd:
    """Submits jobs to any of *addresses*, and watches them; `clients` are the records of all watchers."""

    def __init__(
        self,
        addresses: Sequence[str],
        http: httpx.AsyncClient,
        random_source: Random,
        timeout_seconds: float = TIMEOUT_SECONDS,
        refusals: Collection[int] = REFUSALS,
    ) -> None:
        self._addresses = addresses
        self._http = http
        self._random_source = random_source
        self._timeout_seconds = timeout_seconds
        self._refusals = refusals
        self.clients: list[ClientRecord] = []
        self.done = 0

    async def submit(self, **job: Any) -> str:
        """Submit one job, with retries under the same key until it is accepted. Return its id."""
        headers = {"Idempotency-Key": uuid4().hex}
        for _ in range(_MAX_TRIES):
            url = f"{self._random_source.choice(self._addresses)}/api/v1/jobs"
            try:
                response = await self._http.post(url, json={"pipeline": "talking", **job}, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(0.1)
                continue
            if response.status_code == 503:
                # A machine that is busy, or a server that is away: a client tries again.
                await asyncio.sleep(float(response.headers["Retry-After"]))
                continue
            assert response.status_code == 202, response.text
            accepted: str = response.json()["id"]
            return accepted
        raise AssertionError("no API accepts a job")

    async def watch(self, job_id: str, transports: Sequence[str], *, is_steady: bool) -> None:
        """Watch a job with a client over each of *transports*, until all have received the end."""
        async with asyncio.TaskGroup() as group:
            for transport in transports:
                record = ClientRecord(job_id, transport)
                self.clients.append(record)
                random_source = Random(self._random_source.random())  # noqa: S311
                group.create_task(self._watch(record, random_source, is_steady=is_steady))
        self.done += 1

    async def until_done(self, jobs: int) -> None:
        """Wait until *jobs* jobs were watched to their end."""
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            while self.done < jobs:
                await asyncio.sleep(0.05)

    async def until_open(self, address: str, transports: Collection[str]) -> None:
        """Wait until a client of each of *transports* is connected to *address*."""
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            while any(self._open_at(address, transport) < _MIN_CLIENTS for transport in transports):
                await asyncio.sleep(0.01)

    async def until_connected(self, clients: int) -> None:
        """Wait until *clients* clients are connected."""
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            while (
                sum(any(connection.is_open for connection in record.connections) for record in self.clients)
                < clients
            ):
                await asyncio.sleep(0.01)

    def _open_at(self, address: str, transport: str) -> int:
        connections = [
            record.connections[-1]
            for record in self.clients
            if record.transport == transport and record.connections
        ]
        return sum(connection.is_open and connection.address == address for connection in connections)

    async def _watch(self, record: ClientRecord, random_source: Random, *, is_steady: bool) -> None:
        async with _open_http() as http:
            client = StreamClient(
                record,
                self._addresses,
                http,
                random_source,
                is_steady=is_steady,
                timeout_seconds=self._timeout_seconds,
                refusals=self._refusals,
            )
            await client.watch()


@asynccontextmanager
async def crowd(
    addresses: Sequence[str],
    random_source: Random,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    refusals: Collection[int] = REFUSALS,
) -> AsyncIterator[Crowd]:
    """Yield a crowd without clients; each of its clients waits *timeout_seconds* for the end of its job.

    The clients come back after answers with a status in *refusals*.
    """
    async with _open_http() as http:
        yield Crowd(addresses, http, random_source, timeout_seconds, refusals)


def _open_http() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=20, verify=TLS, trust_env=False)
