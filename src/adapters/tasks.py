"""Ending tasks for sure."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_ROUNDS: Final = 10
_ROUND_SECONDS: Final = 0.5


async def cancel_and_wait(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Cancel *tasks* and wait until they are over; what they raise is dropped.

    A library may lose a cancellation that meets the end of its own timeout, so it is repeated.
    """
    pending = set(tasks)
    for _ in range(_ROUNDS):
        if not pending:
            return
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_ROUND_SECONDS)
