"""Many who submit jobs and watch them, to whichever API process they come."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final
from uuid import uuid4

import httpx

from faults.stream_clients import StreamClient
from faults.stream_judge import Told

_TLS: Final = ssl.create_default_context()
_MOST_TRIES: Final = 200
_SOME: Final = 3
_PATIENCE_SECONDS: Final = 300.0


class Crowd:
    """Submits jobs to any of *addresses*, and watches them; `clients` is what all were told."""

    def __init__(self, addresses: Sequence[str], http: httpx.AsyncClient, dice: Random) -> None:
        self._addresses = addresses
        self._http = http
        self._dice = dice
        self.clients: list[Told] = []
        self.done = 0

    async def submit(self, **job: Any) -> str:
        """Submit one job, again with the same key until it is accepted; its id."""
        headers = {"Idempotency-Key": uuid4().hex}
        for _ in range(_MOST_TRIES):
            url = f"{self._dice.choice(self._addresses)}/api/v1/jobs"
            try:
                answer = await self._http.post(url, json={"pipeline": "talking", **job}, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(0.1)
                continue
            assert answer.status_code == 202, answer.text
            accepted: str = answer.json()["id"]
            return accepted
        raise AssertionError("nobody accepts a job")

    async def watch(self, job_id: str, transports: Sequence[str], *, is_steady: bool) -> None:
        """Watch a job with a client over each of *transports*, until all have been told the end."""
        async with asyncio.TaskGroup() as group:
            for transport in transports:
                told = Told(job_id, transport)
                self.clients.append(told)
                dice = Random(self._dice.random())  # noqa: S311
                group.create_task(self._watch(told, dice, is_steady=is_steady))
        self.done += 1

    async def until_done(self, jobs: int) -> None:
        """Wait until so many jobs were watched to their end."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while self.done < jobs:
                await asyncio.sleep(0.05)

    async def until_open(self, address: str, transports: Collection[str]) -> None:
        """Wait until some clients of each of *transports* are connected to *address*."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while any(self._open_at(address, transport) < _SOME for transport in transports):
                await asyncio.sleep(0.01)

    def _open_at(self, address: str, transport: str) -> int:
        stays = [told.stays[-1] for told in self.clients if told.transport == transport and told.stays]
        return sum(stay.is_open and stay.address == address for stay in stays)

    async def _watch(self, told: Told, dice: Random, *, is_steady: bool) -> None:
        async with _open_http() as http:
            await StreamClient(told, self._addresses, http, dice, is_steady=is_steady).watch()


@asynccontextmanager
async def crowd(addresses: Sequence[str], dice: Random) -> AsyncIterator[Crowd]:
    """Nobody, to begin with."""
    async with _open_http() as http:
        yield Crowd(addresses, http, dice)


def _open_http() -> httpx.AsyncClient:
    # Making up what nobody needs on loopback takes longer than a job does.
    return httpx.AsyncClient(timeout=20, verify=_TLS, trust_env=False)
