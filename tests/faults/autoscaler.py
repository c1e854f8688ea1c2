"""Scales a fleet of worker processes as KEDA and Kubernetes do, by what the API says about a queue."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import httpx
from msgspec import Struct

from faults.fleet import Fleet
from support.hpa import SYNC_SECONDS, HorizontalAutoscaler
from support.keda import KedaOperator, Reading
from support.patience import PATIENCE_SECONDS, until
from support.scale_changes import Change
from support.scaled_objects import ScaledObject

SPEED: Final = 40
"""How many times faster than that of the machine the clock of the cluster runs."""


def cluster_time() -> float:
    """Return the time of the cluster in seconds, which all numbers of a ScaledObject refer to."""
    return time.monotonic() * SPEED


class Poll(Struct, frozen=True):
    """What an autoscaler saw and decided. *numbers* is empty if the API did not answer."""

    at: float
    cause: str
    numbers: dict[str, Any]
    replicas: int
    alive: int

    def line(self, begin: float) -> str:
        due, running, wanted = (self.numbers.get(name, "-") for name in ("due", "running", "wanted_workers"))
        return (
            f"{self.at - begin:8.0f} {self.cause:<5} {wanted:>6} {self.replicas:>8} {self.alive:>6}"
            f" {due:>5} {running:>8}"
        )


class Autoscaler:
    """KEDA's operator and a HorizontalPodAutoscaler, with the numbers of a shipped ScaledObject.

    Both ask the API by themselves, each in its interval. *polls* and *changes* are their history.
    """

    def __init__(self, scaled: ScaledObject, client: httpx.AsyncClient, fleet: Fleet) -> None:
        spec = scaled.spec
        (trigger,) = spec.triggers
        # The host is the name of a Service, which is the address of *client* here.
        self._path = httpx.URL(trigger.metadata["url"]).raw_path.decode()
        self._value = trigger.metadata["valueLocation"]
        self._interval = spec.polling_interval
        self._client = client
        self._fleet = fleet
        self._keda = KedaOperator(spec)
        self._hpa = HorizontalAutoscaler(
            spec.behavior, spec.max_replica_count, minimum=max(1, spec.min_replica_count)
        )
        self.polls: list[Poll] = []
        self.changes: list[Change] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Scale the fleet while the block runs. Print what happened, which pytest shows if the test fails."""
        scaling = asyncio.create_task(self._scale_forever())
        try:
            yield
            assert not scaling.done(), scaling.exception()
        finally:
            scaling.cancel()
            with suppress(asyncio.CancelledError):
                await scaling
            print(self.timeline())  # noqa: T201

    async def pass_time(self, seconds: float) -> None:
        """Wait until *seconds* of the cluster have passed and KEDA has polled as often as it does in them."""
        begin, count = cluster_time(), len(self.polls)
        polls = int(seconds / self._interval)
        await until(lambda: cluster_time() - begin >= seconds and len(self.polls) - count >= polls)

    async def until_scaled(self, replicas: int) -> None:
        """Wait until a poll has left so many workers, which need not be ready or gone yet."""
        await until(
            lambda: bool(self.polls) and self.polls[-1].replicas == replicas,
            lambda: f"not {replicas} workers\n{self.timeline()}",
        )

    def timeline(self) -> str:
        """Return a line for each poll that saw or decided something new, with the time of the cluster."""
        lines = [
            f"{'second':>8} {'asks':<5} {'wanted':>6} {'replicas':>8} {'alive':>6} {'due':>5} {'running':>8}"
        ]
        last: object = None
        for poll in self.polls:
            state = (poll.numbers.get("due"), poll.numbers.get("running"), poll.replicas, poll.alive)
            if state != last:
                lines.append(poll.line(self.polls[0].at))
            last = state
        return "\n".join(lines)

    async def _scale_forever(self) -> None:
        next_poll = next_sync = cluster_time()
        while True:
            now = cluster_time()
            if now >= next_poll:
                next_poll = now + self._interval
                await self._scale("keda", self._keda.decide)
            if now >= next_sync:
                next_sync = now + SYNC_SECONDS
                await self._scale("hpa", self._decide_as_hpa)
            pause = min(next_poll, next_sync) - cluster_time()
            await asyncio.sleep(max(pause / SPEED, 0.005))

    def _decide_as_hpa(self, now: float, replicas: int, reading: Reading) -> int:
        return self._hpa.decide(now, replicas, reading.metric, self._keda.target)

    async def _scale(self, cause: str, decide: Callable[[float, int, Reading], int]) -> None:
        read_at = cluster_time()
        numbers = await self._ask()
        reading = self._keda.read(numbers.get(self._value))
        before = self._fleet.replicas
        after = decide(cluster_time(), before, reading)
        await self._fleet.scale(after)
        if after != before:
            self.changes.append(Change(read_at, before, after, cause))
        self.polls.append(Poll(read_at, cause, numbers, after, self._fleet.alive))

    async def _ask(self) -> dict[str, Any]:
        """Return what the API says about the queue; nothing if it is away, which a busy API is not."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    response = await self._client.get(self._path, timeout=PATIENCE_SECONDS)
                except httpx.TransportError:
                    return {}
                if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    numbers: dict[str, Any] = response.raise_for_status().json()
                    return numbers
                await asyncio.sleep(0.05)
