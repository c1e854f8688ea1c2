"""Removes the rows of uploads, and of the files of ended jobs, that are past their term.

A trigger notes the bytes of removed rows, and workers remove them.

Unfinished jobs and presets may name a file anywhere in their parameters. The statement that removes files
reads these parameters itself, so a job that was accepted before it keeps its files. It reads a bounded number
of them: files of owners who have more stay until they have fewer.
"""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct, field

from headrace.domain.database import Database, Row
from headrace.domain.retention import file_sql
from headrace.domain.retention.rule import NOTHING_LEFT, Batch
from headrace.domain.retention.terms import horizon

MAX_USES: Final = 10_000
"""A statement reads the parameters of at most so many unfinished jobs and presets, and of one more."""

_PERIOD: Final = timedelta(minutes=10)
_COUNTED_AT_ONCE: Final = 1_000
_START: Final = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))


class FileRule:
    """Keeps the files of unfinished and of pinned jobs, and those that unfinished jobs or presets name."""

    name = "files"
    period = _PERIOD

    def __init__(self, database: Database, term: timedelta) -> None:
        self._database = database
        self._term = term
        self._started_at: datetime | None = None
        self._pass: _Pass | None = None

    async def prune(self, now: datetime, limit: int) -> Batch:
        """Look at the next *limit* files that are past their term, and remove the rows of those of no use."""
        before = horizon(now, self._term)
        if before is None:
            return NOTHING_LEFT
        if self._pass is None or self._started_at != now:
            self._pass, self._started_at = _Pass(self._database, file_sql.PRUNE, before), now
        batch = await self._pass.advance(limit)
        if batch.is_last:
            self._pass = None
        return batch

    async def count(self, now: datetime) -> int:
        before = horizon(now, self._term)
        if before is None:
            return 0
        counted, current, is_last = 0, _Pass(self._database, file_sql.COUNT, before), False
        while not is_last:
            batch = await current.advance(_COUNTED_AT_ONCE)
            counted, is_last = counted + batch.removed, batch.is_last
        return counted


class _Pass(Struct):
    """A way through all files that are past their term, from the oldest to the newest.

    If the owners of a page have too many uses together, the page is repeated for each *pending* owner. Those
    who have too many by themselves are *busy*, and their files stay.
    """

    database: Database
    statement: str
    before: datetime
    position: tuple[datetime, UUID] = _START
    page_end: tuple[datetime, UUID] | None = None
    page_size: int = 0
    is_last_page: bool = False
    pending: list[UUID] = field(default_factory=list)
    busy: list[UUID] = field(default_factory=list)

    async def advance(self, limit: int) -> Batch:
        """Run one statement."""
        owner = self.pending.pop() if self.pending else None
        if owner is None:
            row = await self._run(limit, None)
            self.is_last_page, self.page_size = row["files"] < limit, row["files"]
            if self.page_size:
                self.page_end = (row["last_created_at"], row["last_id"])
        else:
            row = await self._run(self.page_size, owner)
        if row["is_cut"] and len(row["owners"]) == 1:
            self.busy += row["owners"]
        elif row["is_cut"]:
            self.pending = row["owners"]
        if not self.pending and self.page_end is not None:
            self.position, self.page_end = self.page_end, None
        is_last = self.is_last_page and not self.pending
        return Batch(row["removed"], is_last, put_off=self._put_off() if is_last else None)

    async def _run(self, limit: int, owner: UUID | None) -> Row:
        end = self.page_end or (self.before, UUID(int=0))
        (row,) = await self.database.fetch(
            self.statement, self.before, *self.position, *end, limit, self.busy, MAX_USES, owner
        )
        return row

    def _put_off(self) -> str | None:
        if not self.busy:
            return None
        others = f" and {len(self.busy) - 1} more" if self.busy[1:] else ""
        return (
            f"some files stay, because their owner has more than {MAX_USES} unfinished jobs and presets that"
            f" may name them: those of user {self.busy[0]}{others}"
        )
