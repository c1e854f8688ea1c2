"""Creates event partitions ahead of time and deletes expired rows, every hour."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import structlog

from headrace.adapters.periodic import run_every
from headrace.domain.accounts.login_attempt_repository import LoginAttemptRepository
from headrace.domain.accounts.session_repository import SessionRepository
from headrace.domain.database import TRANSIENT, Database, DatabaseAwayError, DatabaseBusyError
from headrace.domain.events.partitions import create_partitions
from headrace.domain.jobs.submission.submit_repository import SubmitRepository
from headrace.domain.workers.repository import WorkerRepository

_log = structlog.get_logger(__name__)

_PERIOD_SECONDS: Final = 3600.0
_RETRY_SECONDS: Final = 10.0

Chore = Callable[[], Awaitable[None]]


def hourly_chores(database: Database) -> dict[str, Chore]:
    """Return the chores of every hour by the name that their log lines carry."""
    return {
        "partitions": lambda: create_partitions(database, datetime.now(UTC)),
        "idempotency_keys": SubmitRepository(database).delete_expired_keys,
        "workers": WorkerRepository(database).delete_vanished,
        "login_attempts": LoginAttemptRepository(database).delete_expired,
        "login_sessions": SessionRepository(database).delete_expired,
    }


class Housekeeper:
    """Runs all chores once an hour. A chore that fails does not hold up the others or the worker's jobs."""

    def __init__(self, chores: Mapping[str, Chore]) -> None:
        self._chores = chores
        self._due = dict(chores)

    async def run(self) -> None:
        """Keep house now and every hour, until cancelled. Chores that were put off are retried after 10 s."""
        await run_every(
            _PERIOD_SECONDS, self.keep_house, jitter=0.1, waits_first=False, retry_seconds=_RETRY_SECONDS
        )

    async def keep_house(self) -> int:
        """Run the due chores and return how many succeeded.

        Raises:
            DatabaseAwayError, DatabaseBusyError: at least one was put off; only those are due next time.
        """
        count = 0
        put_off: dict[str, Chore] = {}
        reason: DatabaseAwayError | DatabaseBusyError | None = None
        for name, chore in self._due.items():
            try:
                await chore()
                count += 1
            except TRANSIENT as error:
                _log.warning("housekeeping_put_off", chore=name, reason=error.reason)
                put_off[name] = chore
                reason = error
            except Exception:  # noqa: BLE001  (the next hour tries it again)
                _log.exception("housekeeping_failed", chore=name)
        self._due = put_off or dict(self._chores)
        if reason is not None:
            raise reason
        return count
