"""Recognises values that stand for work that has not been done: a call without `await`, a generator."""

import asyncio
import inspect
from concurrent.futures import Future
from typing import Any


def explain_unfinished(value: Any) -> str | None:
    """Return what is missing if *value* is a coroutine, an awaitable, a future or a generator; else None.

    A coroutine that has not begun is closed, so that Python does not warn of it as well.
    """
    if inspect.iscoroutine(value):
        if inspect.getcoroutinestate(value) == inspect.CORO_CREATED:
            value.close()
        return f"await is missing before the call of {value.__qualname__}"
    if inspect.isasyncgen(value):
        return f"{value.__qualname__} is an asynchronous generator: collect what it yields with `async for`"
    if inspect.isgenerator(value):
        return f"{value.__qualname__} is a generator: return a list of what it yields"
    if isinstance(value, asyncio.Future) or inspect.isawaitable(value):
        return f"await is missing: this is an awaitable {type(value).__name__}"
    if isinstance(value, Future):
        return ".result() is missing: this is a future"
    return None
