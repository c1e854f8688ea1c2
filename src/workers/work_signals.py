"""Waits until a worker may find a job: a ring from Redis, a notice from PostgreSQL, or simply some time."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from arq.connections import ArqRedis

from headrace.adapters import doorbell
from headrace.adapters.redis_client import REDIS_ERRORS, report_failure
from headrace.adapters.tasks import cancel_and_wait
from headrace.workers.attempt.waiting import StopSignal, wait_first
from headrace.workers.monitor import Monitor

# Delayed jobs come due without a ring, so a poll must follow within a second.
POLL_SECONDS: Final = 0.8


class WorkSignals:
    """The rings and notices for the queues of one worker."""

    def __init__(
        self,
        redis: ArqRedis | None,
        queues: Sequence[str],
        stopping: StopSignal,
        count_free_slots: Callable[[], int],
        *,
        monitor: Monitor | None = None,
    ) -> None:
        self._redis = redis
        self._queues = queues
        self._stopping = stopping
        self._count_free_slots = count_free_slots
        self._monitor = monitor
        self._redis_paused_until = 0.0
        self._pace = doorbell.RingPace()
        self._clear_task: asyncio.Task[None] | None = None
        self._is_noticed = False
        self._notice: asyncio.Future[None] | None = None

    def on_notice(self) -> None:
        """Let the worker claim soon, because another program may have committed jobs."""
        self._is_noticed = True
        if self._notice is not None and not self._notice.done():
            self._notice.set_result(None)

    def on_claim(self, jobs: int) -> None:
        """Record that a claim has found that many *jobs*."""
        was_rung = self._pace.on_claim(jobs)
        if was_rung and self._monitor is not None:
            self._monitor.on_ring("claimed" if jobs else "in_vain")

    async def wait(self, others: Sequence["asyncio.Future[Any]"]) -> None:
        """Wait for a ring, a notice or one of *others*, at most for a second."""
        self._notice = asyncio.get_running_loop().create_future()
        if self._is_noticed:
            self._notice.set_result(None)
        seconds = POLL_SECONDS * random.uniform(0.7, 1.0)  # noqa: S311
        if self._redis is None or time.monotonic() < self._redis_paused_until:
            await wait_first(self._notice, *others, stop=self._stopping, seconds=seconds)
        elif not self._is_noticed:
            ring_task = asyncio.create_task(self._wait_for_ring(self._redis, seconds))
            try:
                await wait_first(ring_task, self._notice, *others, stop=self._stopping, seconds=seconds + 1.0)
            finally:
                await cancel_and_wait([ring_task])
        if self._is_noticed:
            self._is_noticed = False
            self._pace.on_ring()
            if self._pace.pause_seconds:
                await wait_first(stop=self._stopping, seconds=self._pace.pause_seconds)

    async def close(self) -> None:
        """End the removal of rings that is under way."""
        await cancel_and_wait([self._clear_task] if self._clear_task else [])

    async def _wait_for_ring(self, redis: ArqRedis, seconds: float) -> None:
        try:
            await asyncio.sleep(self._pace.pause_seconds)
            ring = await doorbell.wait_for_ring(redis, self._queues, seconds=seconds)
            if ring is None:
                return
            self._pace.on_ring()
            # The next claim does not wait for this. Rings that are not cleared expire.
            if self._clear_task is None or self._clear_task.done():
                self._clear_task = asyncio.create_task(self._clear(redis, ring))
        except REDIS_ERRORS as error:
            self._pause_redis(redis, error)
            await wait_first(stop=self._stopping, seconds=POLL_SECONDS)

    async def _clear(self, redis: ArqRedis, ring: doorbell.Ring) -> None:
        try:
            await doorbell.clear_rings(redis, ring, self._count_free_slots() - 1)
        except REDIS_ERRORS as error:
            self._pause_redis(redis, error)

    def _pause_redis(self, redis: ArqRedis, error: Exception) -> None:
        report_failure(redis, error)
        self._redis_paused_until = time.monotonic() + POLL_SECONDS
