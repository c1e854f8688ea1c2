"""Calls one coroutine function again and again in the background: the loop under every periodic task."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import asyncpg
import structlog

from headrace.domain.database import TRANSIENT, is_outage

_log = structlog.get_logger(__name__)

RunOnce = Callable[[], Awaitable[int]]
Sleep = Callable[[float], Awaitable[object]]


async def run_every(
    seconds: float,
    run_once: RunOnce,
    *,
    jitter: float = 0.2,
    waits_first: bool = True,
    retry_seconds: float | None = None,
    put_off_event: str | None = None,
    failed_event: str | None = None,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Call *run_once* every *seconds* until cancelled. It returns how many items it handled.

    Each pause is shorter by a random part, at most the fraction *jitter*, so that workers spread their load.
    A transient database error puts the run off: the next one follows after *retry_seconds* (default:
    *seconds*). The warning is named *put_off_event*; None logs nothing. An outage is logged elsewhere, once.
    Other exceptions are logged as *failed_event*; where that is None, they end the loop, but for errors that
    PostgreSQL answers.
    """
    pause = seconds
    if waits_first:
        await sleep(_jittered(pause, jitter))
    while True:
        pause = seconds
        try:
            _log_done(run_once, await run_once())
        except TRANSIENT as error:
            pause = retry_seconds or seconds
            if put_off_event is not None and not is_outage(error):
                _log.warning(put_off_event, reason=error.reason)
        except asyncpg.PostgresError:
            pause = retry_seconds or seconds
            _log.exception(failed_event or put_off_event or "statement_refused")
        except Exception:
            if failed_event is None:
                raise
            _log.exception(failed_event)
        await sleep(_jittered(pause, jitter))


def _log_done(run_once: RunOnce, count: int) -> None:
    if count:
        _log.debug("chore_done", chore=getattr(run_once, "__qualname__", "chore"), count=count)


def _jittered(seconds: float, jitter: float) -> float:
    return seconds * random.uniform(1.0 - jitter, 1.0)  # noqa: S311
