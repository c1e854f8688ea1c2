"""Takes back what lost its lease, and keeps house. Every worker sweeps; rows held by another are skipped."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import structlog

from headrace.adapters.doorbell import Doorbell
from headrace.domain.accounts.login_attempt_repository import LoginAttemptRepository
from headrace.domain.accounts.session_repository import SessionRepository
from headrace.domain.database import TRANSIENT, Database
from headrace.domain.events.news import Publisher
from headrace.domain.events.partitions import make_partitions
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.domain.jobs.submission.submit_repository import SubmitRepository
from headrace.domain.workers.repository import WorkerRepository

_log = structlog.get_logger(__name__)

_EVERY_SECONDS: Final = 0.5
# A lease that ran out while PostgreSQL was away is renewed as soon as it is back, by a holder that lives.
_GRACE_SECONDS: Final = 1.0
_AT_ONCE: Final = 100
_HOUSE_EVERY_SECONDS: Final = 3600.0
_HOUSE_RETRY_SECONDS: Final = 10.0

Chore = Callable[[], Awaitable[None]]


async def sweep(
    execution: JobQueue, publisher: Publisher, doorbell: Doorbell, queues: tuple[str, ...]
) -> None:
    """Take back twice a second, until cancelled, what has been without a lease for a second."""
    seen: dict[tuple[UUID, int], float] = {}
    while True:
        await asyncio.sleep(_EVERY_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311
        try:
            expired = await execution.fetch_expired()
            now = time.monotonic()
            seen = {held: seen.get(held, now) for held in expired}
            lost = [held for held, since in seen.items() if now - since >= _GRACE_SECONDS]
            # Each worker begins elsewhere, so that many share the work.
            random.shuffle(lost)
            news = await execution.fail_timed_out()
            for start in range(0, len(lost), _AT_ONCE):
                news += await execution.rescue(lost[start : start + _AT_ONCE])
        except TRANSIENT:
            seen.clear()
            continue
        if news:
            _log.warning("leases_ran_out", jobs=[str(one.job_id) for one in news])
            publisher.publish(news)
            doorbell.ring(queues)


async def keep_house(database: Database) -> None:
    """Run every chore once an hour, until cancelled; a chore that fails does not hold up the others.

    A chore that PostgreSQL could not do at the moment is tried again after 10 s.
    """
    chores: dict[str, Chore] = {
        "partitions": lambda: make_partitions(database, datetime.now(UTC)),
        "idempotency_keys": SubmitRepository(database).delete_expired_keys,
        "workers": WorkerRepository(database).delete_vanished,
        "login_attempts": LoginAttemptRepository(database).delete_expired,
        "login_sessions": SessionRepository(database).delete_expired,
    }
    due = chores
    while True:
        due = {name: chore for name, chore in due.items() if not await _is_done(name, chore)}
        if due:
            await asyncio.sleep(_HOUSE_RETRY_SECONDS)
        else:
            due = chores
            await asyncio.sleep(_HOUSE_EVERY_SECONDS * random.uniform(0.9, 1.0))  # noqa: S311


async def _is_done(name: str, chore: Chore) -> bool:
    """Run a chore; return False when it should be tried again soon."""
    try:
        await chore()
    except TRANSIENT as error:
        _log.warning("housekeeping_put_off", chore=name, reason=error.reason)
        return False
    except Exception:  # noqa: BLE001  (a chore that fails must not stop the worker's jobs)
        _log.exception("housekeeping_failed", chore=name)
    return True
