"""Cancels tasks reliably, and drops the errors of tasks for which nobody waits."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_MAX_ROUNDS: Final = 10
_ROUND_SECONDS: Final = 0.5


async def cancel_and_wait(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Cancel *tasks* and wait until they have ended; their errors are dropped.

    The cancellation is repeated, because a library may lose one that coincides with its own timeout.
    """
    pending = set(tasks)
    for _ in range(_MAX_ROUNDS):
        if not pending:
            return
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_ROUND_SECONDS)


def retrieve_exception(future: "asyncio.Future[Any]") -> None:
    """Mark the exception of *future* as retrieved: asyncio would log it if every waiter has left."""
    if not future.cancelled():
        future.exception()
