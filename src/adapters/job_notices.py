"""Hears of the jobs that other programs commit, over PostgreSQL's NOTIFY, on a connection of its own.

A notice that is lost delays a job until the next poll, a second at most. Behind a pooler there are none.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncpg
import structlog

from headrace.adapters.database import SESSION
from headrace.adapters.database_errors import DRIVER_ERRORS, translate_database_error
from headrace.adapters.postgres_connector import PostgresConnector, is_pooled
from headrace.adapters.postgres_url import PostgresAddress
from headrace.adapters.retry_pause import RetryPause
from headrace.domain.conditions import Report
from headrace.domain.database import TRANSIENT, trouble_of

_log = structlog.get_logger(__name__)

CHANNEL: Final = "headrace_jobs"
"""The function `submit` notifies it, with the schema and the queue of the jobs."""

_MIN_PAUSE_SECONDS: Final = 0.2
_MAX_PAUSE_SECONDS: Final = 30.0
# A connection that is silent for so long is tried, since its server may be gone.
_KEEP_ALIVE_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 8.0
# The pooler may be gone by then.
_POOLER_SECONDS: Final = 600.0


class JobNotices:
    """The connection that listens for one worker. `run` is its only task."""

    def __init__(
        self,
        address: PostgresAddress,
        queues: Sequence[str],
        on_notice: Callable[[], None],
        report: Report,
        *,
        keep_alive_seconds: float = _KEEP_ALIVE_SECONDS,
    ) -> None:
        """*on_notice* is called when one of *queues* may have new jobs; *report* receives failures."""
        self._connector = PostgresConnector(address, SESSION, answer_seconds=_ANSWER_SECONDS)
        self._queues = queues
        self._on_notice = on_notice
        self._report = report
        self._keep_alive_seconds = keep_alive_seconds
        self._connection: asyncpg.Connection | None = None

    @property
    def is_listening(self) -> bool:
        return self._connection is not None

    async def run(self) -> None:
        """Listen until cancelled, and connect again when the connection is lost."""
        pause = RetryPause(min_seconds=_MIN_PAUSE_SECONDS, max_seconds=_MAX_PAUSE_SECONDS)
        while True:
            try:
                connection = await self._connector.connect()
                try:
                    if is_pooled(connection):
                        _log.info("no_notices_behind_a_pooler")
                        connection.terminate()
                        await asyncio.sleep(_POOLER_SECONDS)
                        continue
                    await self._listen(connection, pause)
                finally:
                    self._connection = None
                    connection.terminate()
            except (*TRANSIENT, *DRIVER_ERRORS) as error:
                self._report_failure(error)
            await asyncio.sleep(pause.next_seconds())

    async def expire(self) -> None:
        """Replace the connection: one from before a fail-over may lead to the old server."""
        if self._connection is not None:
            self._connection.terminate()

    async def _listen(self, connection: asyncpg.Connection, pause: RetryPause) -> None:
        """Pass notices on until the connection ends."""
        schema = await connection.fetchval("SELECT current_schema()")
        payloads = {f"{schema}.{queue}" for queue in self._queues}
        has_ended = asyncio.Event()
        connection.add_termination_listener(lambda _: has_ended.set())

        def pass_on(_connection: Any, _pid: int, _channel: str, payload: object) -> None:
            if payload in payloads:
                self._on_notice()

        await connection.add_listener(CHANNEL, pass_on)
        self._connection = connection
        pause.reset()
        # Notices may have been missed before.
        self._on_notice()
        while not has_ended.is_set():
            try:
                async with asyncio.timeout(self._keep_alive_seconds):
                    await has_ended.wait()
            except TimeoutError:
                await connection.fetchval("SELECT 1")

    def _report_failure(self, error: Exception) -> None:
        translated = error if isinstance(error, TRANSIENT) else translate_database_error(error)
        if translated is None:
            _log.warning("notices_refused", error=repr(error))
        elif (trouble := trouble_of(translated)) is not None:
            self._report(trouble)
