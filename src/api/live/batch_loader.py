"""Batches concurrent lookups: keys requested while a query is in flight go out together in the next one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar

from headrace.adapters.rounds import in_rounds
from headrace.adapters.tasks import retrieve_exception
from headrace.domain.database import TRANSIENT

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

        The keys of a query are of all groups alike, and of successive queries, however many keys of one group
        wait. If a query of several keys fails, each key is looked up alone, unless PostgreSQL is in trouble.
        """
        self._fetch = fetch
        self._max_keys = max_keys
        self._group_of = group_of
        self._pending: dict[Hashable, dict[Key, asyncio.Future[Value | None]]] = {}
        # The keys of queries that have failed, each of which gets a query of its own.
        self._suspects: deque[tuple[Key, asyncio.Future[Value | None]]] = deque()
        self._runner: asyncio.Task[None] | None = None

    async def load(self, key: Key) -> Value | None:
        """Return the value of *key* from a query that begins after this call; None if there is no value.

        Raises:
            Exception: the error that the query raised.
        """
        group = self._pending.setdefault(self._group_of(key), {})
        future = group.get(key)
        if future is None:
            future = group[key] = asyncio.get_running_loop().create_future()
            future.add_done_callback(retrieve_exception)
        if self._runner is None:
            # Not in the caller's context: the queries are for all callers.
            self._runner = asyncio.create_task(self._run(), context=Context())
        return await asyncio.shield(future)

    async def _run(self) -> None:
        try:
            while self._pending or self._suspects:
                # Callers that are ready in this turn of the loop join the batch.
                await asyncio.sleep(0)
                await self._resolve(
                    dict([self._suspects.popleft()]) if self._suspects else self._next_batch()
                )
        finally:
            self._runner = None

    def _next_batch(self) -> dict[Key, "asyncio.Future[Value | None]"]:
        """Take the first key of each group, then the second of each, and so on, up to the maximum."""
        batch = dict(in_rounds([*group.items()] for group in self._pending.values())[: self._max_keys])
        for name in dict.fromkeys(map(self._group_of, batch)):
            # The other groups come first in the next query.
            group = self._pending.pop(name)
            if rest := {key: future for key, future in group.items() if key not in batch}:
                self._pending[name] = rest
        return batch

    async def _resolve(self, batch: dict[Key, "asyncio.Future[Value | None]"]) -> None:
        try:
            values = await self._fetch(list(batch))
        except Exception as error:  # noqa: BLE001  (the callers get it)
            if len(batch) > 1 and not isinstance(error, TRANSIENT):
                self._suspects += batch.items()
                return
            _fail(batch.values(), error)
        except BaseException:
            _fail(batch.values(), ConnectionError("the service stops"))
            raise
        else:
            for key, future in batch.items():
                future.set_result(values.get(key))


def _fail(futures: Iterable["asyncio.Future[Any]"], error: Exception) -> None:
    for future in futures:
        future.set_exception(error)
