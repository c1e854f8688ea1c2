"""Shares a few places, such as the connections of a pool, fairly between users."""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.adapters.recent_users import RecentUsers
from headrace.domain.database import DatabaseBusyError, DatabaseTimeoutError
from headrace.domain.errors import HeadraceError

CALLER: Final[ContextVar[UUID | None]] = ContextVar("caller", default=None)
"""The user on whose behalf the current task uses PostgreSQL; None: the service itself."""

# A request that held a place for longer leaves its user one place for so many times as long.
_DEAR_SECONDS: Final = 0.25
_DEAR_TIMES: Final = 4
# A user is alone if no other user has requested a place for so long.
_ALONE_SECONDS: Final = 60.0


def share_of(places: int) -> int:
    """Return how many of *places* one user may hold at once: a quarter, and at least two."""
    return max(-(-places // 4), 2)


class TooManyAtOnceError(DatabaseBusyError):
    """The user's other requests hold the user's share, and did not give it back in time."""

    def __init__(self, share: int) -> None:
        self.reason = (
            f"{share} of your requests are using the database and others wait for them: send fewer at once"
        )
        HeadraceError.__init__(self, self.reason)


class Turn(Struct, frozen=True):
    """A place that *user* holds since *began*."""

    user: UUID | None
    began: float


class FairTurns:
    """Places that users take in turn: of those who wait, the user who was served longest ago is the next.

    A user holds at most *share* of the places at once, so the others always find some, and only one for a
    while after a request that held its place for long: dear requests occupy PostgreSQL's processors as well.
    A user who is alone may hold all places but a share, however long. The service itself has turns like a
    user, but may hold all places.
    """

    def __init__(
        self,
        places: int,
        share: int,
        wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        suspect: Callable[[], None] | None = None,
    ) -> None:
        """*suspect* is called if nobody gave a place back during a whole wait: PostgreSQL may be silent.

        Without it the holders of places are to blame for that.
        """
        self._free = places
        self._share = share
        self._share_alone = max(places - share, share)
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._suspect = suspect
        self._released_at = float("-inf")
        self._held: Counter[UUID | None] = Counter()
        self._dear_until: dict[UUID | None, float] = {}
        self._recent_users = RecentUsers(_ALONE_SECONDS, clock)
        # In the order of their turns. Each has at least one task that waits.
        self._waiting: OrderedDict[UUID | None, deque[asyncio.Future[Turn]]] = OrderedDict()

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Hold a place for the block; see `acquire`."""
        turn = await self.acquire()
        try:
            yield
        finally:
            self.release(turn)

    async def acquire(self) -> Turn:
        """Take a place for the caller.

        Raises:
            TooManyAtOnceError: the caller's share was in use for too long, while others also send requests.
            DatabaseBusyError: the places were in use for too long.
            DatabaseTimeoutError: no place was given back meanwhile.
        """
        user = CALLER.get()
        if user is not None:
            self._recent_users.note(user)
        # A free place is one that nobody who waits may take.
        if self._free and self._may_hold(user) and user not in self._waiting:
            return self._take(user)
        began = self._clock()
        future: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user, deque()).append(future)
        self._serve()
        try:
            async with asyncio.timeout(self._wait_seconds):
                return await future
        except BaseException as error:
            self._give_up(user, future)
            if not isinstance(error, TimeoutError):
                raise
            if self._suspect is not None and self._released_at < began:
                self._suspect()
                raise DatabaseTimeoutError("no request that uses the database has ended") from error
            # Nobody is harmed by a user who is alone, so the trouble is the database's.
            if self._may_hold(user) or self._recent_users.is_alone(user):
                raise DatabaseBusyError("all connections are in use") from error
            raise TooManyAtOnceError(self._held[user]) from error

    def restart_clock(self, turn: Turn) -> Turn:
        """Return *turn* as if it began now: what it did so far was not its user's work."""
        return Turn(turn.user, self._clock())

    def release(self, turn: Turn) -> None:
        """Give a place back, and with it the next turn."""
        user, now = turn.user, self._clock()
        self._released_at = now
        if now - turn.began > _DEAR_SECONDS:
            self._dear_until = {each: until for each, until in self._dear_until.items() if until > now}
            self._dear_until[user] = now + (now - turn.began) * _DEAR_TIMES
        self._held[user] -= 1
        if not self._held[user]:
            del self._held[user]
        self._free += 1
        self._serve()

    def _serve(self) -> None:
        """Give the free places to the users whose turn it is."""
        for user in self._next_users():
            futures = self._waiting.pop(user)
            future = futures.popleft()
            if futures:
                self._waiting[user] = futures
            if not future.cancelled():
                future.set_result(self._take(user))

    def _next_users(self) -> Iterator[UUID | None]:
        """Yield the user whose turn it is, as long as there is a free place that this user may take."""
        while self._free:
            allowed = (user for user in self._waiting if self._may_hold(user))
            try:
                yield next(allowed)
            except StopIteration:
                return

    def _give_up(self, user: UUID | None, future: "asyncio.Future[Turn]") -> None:
        if future.done() and not future.cancelled():
            # The turn came at the moment at which the task was cancelled.
            self.release(future.result())
            return
        futures = self._waiting.get(user)
        if futures is not None and future in futures:
            futures.remove(future)
            if not futures:
                del self._waiting[user]

    def _may_hold(self, user: UUID | None) -> bool:
        if user is None:
            return True
        if self._recent_users.is_alone(user):
            return self._held[user] < self._share_alone
        is_dear = self._dear_until.get(user, 0.0) > self._clock()
        return self._held[user] < (1 if is_dear else self._share)

    def _take(self, user: UUID | None) -> Turn:
        self._free -= 1
        self._held[user] += 1
        return Turn(user, self._clock())
