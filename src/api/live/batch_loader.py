"""What many ask for at once is asked with one question, and the next with what gathered meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class BatchLoader(Generic[Key, Value]):
    """*ask* answers up to *most* keys; a key that has no answer is left out."""

    def __init__(self, ask: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]], most: int) -> None:
        self._ask = ask
        self._most = most
        self._waiting: dict[Key, asyncio.Future[Value | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def get(self, key: Key) -> Value | None:
        """The answer to a question that was put after this call; None where there is none.

        Raises:
            Exception: whatever *ask* has raised.
        """
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
            future.add_done_callback(_look)
        if self._asking is None:
            self._asking = asyncio.create_task(self._run())
        return await asyncio.shield(future)

    async def _run(self) -> None:
        try:
            while self._waiting:
                # Who is about to ask does so in this turn.
                await asyncio.sleep(0)
                keys = list(self._waiting)[: self._most]
                await self._answer({key: self._waiting.pop(key) for key in keys})
        finally:
            self._asking = None

    async def _answer(self, waiting: dict[Key, "asyncio.Future[Value | None]"]) -> None:
        try:
            found = await self._ask(list(waiting))
        except BaseException as error:
            for future in waiting.values():
                future.set_exception(_as_error(error))
            if not isinstance(error, Exception):
                raise
        else:
            for key, future in waiting.items():
                future.set_result(found.get(key))


def _as_error(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else ConnectionError("the service stops")


def _look(future: "asyncio.Future[Value | None]") -> None:
    """Those who asked may be gone: nobody else has to hear of an error."""
    if not future.cancelled():
        future.exception()
