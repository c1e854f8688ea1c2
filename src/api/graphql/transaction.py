"""The read-only transaction of one query."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from headrace.domain.accounts.reach import Reach
from headrace.domain.database import DatabaseAwayError
from headrace.domain.read_model.repository import ReadRepository

T = TypeVar("T")

# One snapshot for all statements of a query: what it answers was true at one moment.
_OPTIONS: Final = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class ReadTransaction:
    """Begun by the first question; a query that asks nothing costs no connection.

    Resolvers ask at once and a session serves one statement at a time, so questions wait for each other.
    """

    def __init__(self, sessions: async_sessionmaker[AsyncSession], reach: Reach) -> None:
        self._sessions = sessions
        self._reach = reach
        self._lock = asyncio.Lock()
        self._repository: ReadRepository | None = None
        self._failure: Exception | None = None

    async def ask(self, question: Callable[[ReadRepository], Awaitable[T]]) -> T:
        """Ask the database.

        Raises:
            Exception: whatever the first failed question met, for it and for all after it.
        """
        async with self._lock:
            if self._failure is not None:
                raise self._failure
            try:
                return await question(await self._begun())
            except Exception as error:
                self._failure = error
                raise

    async def end(self) -> None:
        """Give the connection back, once nobody uses it."""
        async with self._lock:
            self._failure = self._failure or DatabaseAwayError("the query is over")
            if self._repository is not None:
                await self._repository.session.close()

    async def _begun(self) -> ReadRepository:
        if self._repository is None:
            self._repository = ReadRepository(self._sessions(), self._reach)
            await self._repository.session.connection(execution_options=_OPTIONS)
        return self._repository
