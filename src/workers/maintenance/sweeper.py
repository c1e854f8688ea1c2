"""Takes back what lost its lease, and keeps house. Every worker sweeps; rows held by another are skipped."""

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import structlog

from headrace.adapters.doorbell import Doorbell
from headrace.domain.database import TRANSIENT, Database
from headrace.domain.events.news import Publisher
from headrace.domain.events.partitions import make_partitions
from headrace.domain.jobs.attempts.queue import JobQueue

_log = structlog.get_logger(__name__)

_EVERY_SECONDS: Final = 0.5
# A lease that ran out while PostgreSQL was away is renewed as soon as it is back, by a holder that lives.
_GRACE_SECONDS: Final = 1.0
_AT_ONCE: Final = 100
_HOUSE_EVERY_SECONDS: Final = 3600.0


async def sweep(
    execution: JobQueue, publisher: Publisher, doorbell: Doorbell, queues: tuple[str, ...]
) -> None:
    """Take back twice a second, until cancelled, what has been without a lease for a second."""
    seen: dict[tuple[UUID, int], float] = {}
    while True:
        await asyncio.sleep(_EVERY_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311
        try:
            expired = await execution.expired()
            now = time.monotonic()
            seen = {held: seen.get(held, now) for held in expired}
            lost = [held for held, since in seen.items() if now - since >= _GRACE_SECONDS]
            # Each worker begins elsewhere, so that many share the work.
            random.shuffle(lost)
            news = await execution.time_out()
            for start in range(0, len(lost), _AT_ONCE):
                news += await execution.take_back(lost[start : start + _AT_ONCE])
        except TRANSIENT:
            seen.clear()
            continue
        if news:
            _log.warning("leases_ran_out", jobs=[str(one.job_id) for one in news])
            publisher.publish(news)
            doorbell.ring(queues)


async def keep_house(execution: JobQueue, database: Database) -> None:
    """Make event partitions ahead and drop what has expired, every hour, until cancelled."""
    while True:
        try:
            await make_partitions(database, datetime.now(UTC))
            await execution.tidy()
        except TRANSIENT as error:
            _log.warning("housekeeping_put_off", reason=error.reason)
            await asyncio.sleep(10)
            continue
        except Exception:  # noqa: BLE001  (jobs run on while the house is untidy)
            _log.exception("housekeeping_failed")
        await asyncio.sleep(_HOUSE_EVERY_SECONDS * random.uniform(0.9, 1.0))  # noqa: S311
