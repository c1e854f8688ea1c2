"""A client that submits one job after the other, and records every response."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import uuid4

import httpx

from support.patience import PATIENCE_SECONDS, STALL_SECONDS

_PAUSE_SECONDS: Final = 0.05


class Load:
    """A client that submits jobs.

    *accepted* are the ids of the jobs accepted with 202, *refusals* all other responses, *unanswered* the
    errors of requests without a response.
    """

    def __init__(self, client: httpx.AsyncClient, ledger: Path, **params: Any) -> None:
        self._client = client
        self._params = {"ledger": str(ledger), "items": 2} | params
        self.accepted: list[str] = []
        self.refusals: list[httpx.Response] = []
        self.unanswered: list[httpx.TransportError] = []

    async def submit(self, pipeline: str = "relay", key: str | None = None, **params: Any) -> str | None:
        """Submit one job. Return its id, or None when it was not accepted."""
        body = {"pipeline": pipeline, "params": self._params | params}
        headers = {} if key is None else {"Idempotency-Key": key}
        try:
            response = await self._client.post("/api/v1/jobs", json=body, headers=headers)
        except httpx.TransportError as error:
            self.unanswered.append(error)
            return None
        if response.status_code != 202:
            self.refusals.append(response)
            return None
        self.accepted.append(response.json()["id"])
        return self.accepted[-1]

    async def submit_many(self, count: int, **params: Any) -> list[str]:
        """Submit *count* jobs at once; all must be accepted."""
        ids = await asyncio.gather(*(self.submit(**params) for _ in range(count)))
        assert None not in ids, [*self.refusals, *self.unanswered]
        return [job_id for job_id in ids if job_id is not None]

    async def submit_until_accepted(self, **params: Any) -> str:
        """Submit one job, and repeat the request with the same key until it is accepted. Return its id."""
        key = uuid4().hex
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (job_id := await self.submit(key=key, **params)) is None:
                await asyncio.sleep(_PAUSE_SECONDS)
        return job_id

    @asynccontextmanager
    async def running(self, *, insisting: bool = False) -> AsyncIterator[None]:
        """Submit one job after the other while the block runs."""

        async def submit_forever() -> None:
            while True:
                await (self.submit_until_accepted() if insisting else self.submit())
                await asyncio.sleep(_PAUSE_SECONDS)

        submitting = asyncio.create_task(submit_forever())
        try:
            yield
            assert not submitting.done(), submitting.exception()
        finally:
            submitting.cancel()
            with suppress(asyncio.CancelledError):
                await submitting

    async def until_more(self, count: int) -> None:
        """Wait until *count* more jobs are accepted."""
        target = len(self.accepted) + count
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.accepted) < target:
                await asyncio.sleep(0.01)


def assert_in_time(waits: Sequence[float], seconds: float) -> None:
    """Assert that most of *waits* are shorter than *seconds*, and that a stall explains the longer ones."""
    assert median(waits) < seconds
    assert late_share(waits) < seconds + STALL_SECONDS


def late_share(waits: Sequence[float], share: float = 0.95) -> float:
    """Return the wait that *share* of all waits do not exceed."""
    ordered = sorted(waits)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
