"""Batches concurrent lookups: keys requested while a query is in flight go out together in the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from headrace.adapters.rounds import in_rounds
from headrace.adapters.tasks import retrieve_exception

Key = TypeVar("Key")
Value = TypeVar("Value")


class BatchLoader(Generic[Key, Value]):
    """Loads values by key with at most one query at a time."""

    def __init__(
        self,
        fetch: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]],
        max_keys: int,
        group_of: Callable[[Key], Hashable] = lambda _: None,
    ) -> None:
        """Load through *fetch*, which gets at most *max_keys* keys and leaves out those without a value.

        The keys of a query are of all groups alike, however many keys of one group wait.
        """
        self._fetch = fetch
        self._max_keys = max_keys
        self._group_of = group_of
        self._pending: dict[Key, asyncio.Future[Value | None]] = {}
        self._runner: asyncio.Task[None] | None = None

    async def load(self, key: Key) -> Value | None:
        """Return the value of *key* from a query that begins after this call; None if there is no value.

        Raises:
            Exception: the error that the query raised.
        """
        future = self._pending.get(key)
        if future is None:
            future = self._pending[key] = asyncio.get_running_loop().create_future()
            future.add_done_callback(retrieve_exception)
        if self._runner is None:
            # Not in the caller's context: the queries are for all callers.
            self._runner = asyncio.create_task(self._run(), context=Context())
        return await asyncio.shield(future)

    async def _run(self) -> None:
        try:
            while self._pending:
                # Callers that are ready in this turn of the loop join the batch.
                await asyncio.sleep(0)
                await self._resolve({key: self._pending.pop(key) for key in self._next_keys()})
        finally:
            self._runner = None

    def _next_keys(self) -> list[Key]:
        """Return the first key of each group, then the second of each, and so on, up to the maximum."""
        groups: dict[Hashable, list[Key]] = {}
        for key in self._pending:
            groups.setdefault(self._group_of(key), []).append(key)
        return in_rounds(groups.values())[: self._max_keys]

    async def _resolve(self, batch: dict[Key, "asyncio.Future[Value | None]"]) -> None:
        try:
            values = await self._fetch(list(batch))
        except BaseException as error:
            for future in batch.values():
                future.set_exception(_as_exception(error))
            if not isinstance(error, Exception):
                raise
        else:
            for key, future in batch.items():
                future.set_result(values.get(key))


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else ConnectionError("the service stops")
