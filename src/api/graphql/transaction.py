"""The read-only transaction of one query."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from headrace.domain.accounts.reach import Reach
from headrace.domain.database import DatabaseAwayError
from headrace.domain.read_model.repository import ReadRepository

T = TypeVar("T")

# All statements of a query read one snapshot, so its answer was true at one moment.
_OPTIONS: Final = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class ReadTransaction:
    """Begins with the first read, so that a query without reads takes no connection.

    Resolvers read concurrently, but a session runs one statement at a time: reads wait for each other.
    """

    def __init__(self, sessions: async_sessionmaker[AsyncSession], reach: Reach) -> None:
        self._sessions = sessions
        self._reach = reach
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._repository: ReadRepository | None = None
        self._failure: Exception | None = None
        self._searches = 0
        self._searches_are_over = asyncio.Event()
        self._searches_are_over.set()

    async def run(self, read: Callable[[ReadRepository], Awaitable[T]]) -> T:
        """Run *read* on the repository, in the loop that has the connections; callers may run in another.

        Raises:
            Exception: the error of the first read that failed, for that read and for all after it.
        """
        # Resolvers that search begin in the same turn of the loop as others.
        await asyncio.sleep(0)
        await self._searches_are_over.wait()
        return await self._await_in_loop(self._run(read))

    async def search(self, search: Coroutine[Any, Any, T]) -> T:
        """Run *search*, which has a connection of its own, before the transaction begins.

        It may wait for its turn for longer than PostgreSQL lets a transaction be idle.
        """
        self._searches += 1
        self._searches_are_over.clear()
        try:
            return await self._await_in_loop(search)
        finally:
            self._searches -= 1
            if not self._searches:
                self._searches_are_over.set()

    async def _await_in_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    async def _run(self, read: Callable[[ReadRepository], Awaitable[T]]) -> T:
        async with self._lock:
            if self._failure is not None:
                raise self._failure
            try:
                return await read(await self._begin_once())
            except Exception as error:
                self._failure = error
                raise

    async def end(self) -> None:
        """Return the connection after the current read. Later reads are refused."""
        async with self._lock:
            self._failure = self._failure or DatabaseAwayError("the query is over")
            if self._repository is not None:
                await self._repository.session.close()

    async def _begin_once(self) -> ReadRepository:
        if self._repository is None:
            self._repository = ReadRepository(self._sessions(), self._reach)
            await self._repository.session.connection(execution_options=_OPTIONS)
        return self._repository
