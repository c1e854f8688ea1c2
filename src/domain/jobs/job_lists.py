"""Which jobs a list reads: as many as it needs, and never more than a bound, however many jobs there are.

An index has the jobs of an owner in each state in the order of submission, and PostgreSQL merges the states
of a list. Other filters and orders have no index with which it would find a page of millions of jobs. If few
jobs match one of these filters, they are looked up, and the list is complete. Otherwise the list looks at a
window of `MAX_LOOKED_JOBS` jobs in the order of submission, and says where the window ended.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Self
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Subquery,
    Uuid,
    any_,
    literal,
    select,
    text,
    union_all,
)

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import Session
from headrace.domain.cursors import Order, Position, SortColumn, at_or_behind, behind, order_on
from headrace.domain.jobs.filters import JobFilter
from headrace.domain.jobs.id_times import MAX_CLOCK_SKEW, first_id_at
from headrace.domain.jobs.models import Job
from headrace.domain.jobs.rare_filters import look_up
from headrace.domain.jobs.state_merge import IS_OF_NEWER_RELEASE_SQL
from headrace.domain.jobs.states import FINAL_STATES, JobState
from headrace.domain.jobs.tag_conditions import TagCondition, has_tag, is_tagged
from headrace.domain.paging import SortColumns, sort_order

MAX_LOOKED_JOBS: Final = 50_000
"""A list that has to test jobs one by one tests so many."""

SORT_COLUMNS: Final[SortColumns] = {
    "created_at": Job.created_at,
    "run_at": Job.run_at,
    "priority": Job.priority,
    "finished_at": Job.finished_at,
}

_MICROSECOND: Final = timedelta(microseconds=1)
_COLUMNS: Final = (
    Job.id,
    Job.owner_id,
    Job.created_at,
    Job.pipeline,
    Job.queue,
    Job.state,
    Job.preset_id,
    Job.run_at,
    Job.priority,
    Job.finished_at,
)


class JobSelection(Struct, frozen=True):
    """The jobs of one page.

    *ids* selects one row more than the page has, in its order. *counted* selects those that match, and
    *estimated* as well, in a form that PostgreSQL's planner has statistics for.
    *looked_back_to*: only the jobs created since then were looked at; None: all were. *resume_at* is the
    position at which a page goes on that has no rows left in its window.
    """

    ids: Select[Any]
    counted: Select[Any]
    estimated: Select[Any]
    looked_back_to: datetime | None = None
    resume_at: Position | None = None
    is_whole: bool = True
    """Whether *counted* selects all jobs that match, and not only those in a window."""


_Start = Callable[[Order], ColumnElement[bool]]
"""Makes the condition that a job is in a window or behind it, on the columns of an order."""


class _WindowBounds(Struct, frozen=True):
    """The *start* of a window, and its *end*: its last job and the first behind it; None if there is none."""

    start: _Start | None
    end: Sequence[Any] | None


class JobLists(Struct, frozen=True):
    """Selects the jobs of pages within a caller's reach, for one filter."""

    session: Session
    reach: Reach
    filters: JobFilter

    @classmethod
    async def of(cls, session: Session, reach: Reach, filters: JobFilter) -> Self:
        """Return the lists for *filters*. If one of them is rare, the jobs that match it are looked up."""
        lists = cls(session, reach, filters)
        if filters.found is not None or lists._is_served_by_index:
            return lists
        found = await look_up(session, reach, filters)
        return lists if found is None else cls(session, reach, replace(filters, found=found))

    @property
    def order(self) -> Order:
        """The order of the list. Jobs of all users are in the order of their ids."""
        name = self.filters.order_by
        if name.removeprefix("-") == "created_at" and not self._owner_ids:
            return (SortColumn(Job.id, name.startswith("-")),)
        if self._is_by_end:
            is_descending = name.startswith("-")
            return SortColumn(Job.finished_at, is_descending), SortColumn(Job.id, is_descending)
        return sort_order(SORT_COLUMNS, name, Job.id)

    async def select(self, position: Position | None) -> JobSelection:
        """Return the selection of the page behind *position*, or of the one at the filter's offset."""
        if self.filters.found is not None:
            return self._select_found(position)
        if self._is_served_by_index:
            return self._select_in_order(position)
        return await self._select_in_window(position)

    @property
    def _owner_ids(self) -> list[UUID]:
        return [owner for owner in (self.reach.owner_id, self.filters.owner_id) if owner is not None]

    @property
    def _is_by_submission(self) -> bool:
        return self.filters.order_by.removeprefix("-") == "created_at"

    @property
    def _is_by_end(self) -> bool:
        """Whether the list is that of the jobs of all users that have ended, in the order of their ends."""
        is_by_end = self.filters.order_by.removeprefix("-") == "finished_at"
        states = self.filters.states
        return is_by_end and not self._owner_ids and bool(states) and states <= FINAL_STATES

    @property
    def _follows_index(self) -> bool:
        """Whether the windows of a list are one behind the other in the list's own order."""
        return self._is_by_submission or self._is_by_end

    @property
    def _is_served_by_index(self) -> bool:
        has_states = bool(self._owner_ids) or not self.filters.states
        return self._is_by_submission and has_states and not self._has_other_filters

    @property
    def _has_other_filters(self) -> bool:
        filters = self.filters
        others = (filters.pipeline, filters.queue, filters.tag, filters.preset_id)
        return any(value is not None for value in others)

    def _select_found(self, position: Position | None) -> JobSelection:
        matching, found = self._matching(), self.filters.found or ()
        # The LIMIT keeps PostgreSQL from looking for these jobs in the order of the list, among all others.
        rows = matching.with_only_columns(*_COLUMNS).limit(len(found)).subquery()
        ids = self._cut(select(rows.c.id), order_on(rows, self.order), position)
        return JobSelection(ids, select(rows.c.id), matching)

    def _select_in_order(self, position: Position | None) -> JobSelection:
        start = None if position is None else partial(behind, position=position)
        count = self.filters.offset + self.filters.limit + 1
        jobs, matching = self._first_jobs(self.order, start, count), self._matching()
        ids = self._cut(select(jobs.c.id), order_on(jobs, self.order), None)
        return JobSelection(ids, matching, matching)

    async def _select_in_window(self, position: Position | None) -> JobSelection:
        bounds = await self._window_bounds(position if self._follows_index else None)
        window = self._window(bounds.start)
        matching = select(window.c.id).where(*self._others(window.c, is_tagged))
        order = order_on(window, self.order)
        ids = self._cut(matching, order, None if self._follows_index else position)
        is_first = position is None or not self._follows_index
        whole = window if is_first else self._window(None)
        counted = select(whole.c.id).where(*self._others(whole.c, is_tagged))
        estimated = self._matching()
        if bounds.end is None:
            is_whole = is_first or (await self._window_bounds(None)).end is None
            return JobSelection(ids, counted, estimated, is_whole=is_whole)
        last, first_beyond = bounds.end
        return JobSelection(
            ids,
            counted,
            estimated,
            # Jobs of a batch have the same time.
            looked_back_to=first_beyond.created_at + _MICROSECOND if self._looks_back else None,
            resume_at=self._position_of(last) if self._follows_index else None,
            is_whole=False,
        )

    @property
    def _looks_back(self) -> bool:
        """Whether the window ends at a time of submission, before which nothing was looked at."""
        is_newest_first = self.filters.order_by.startswith("-")
        return not self._is_by_end and (not self._is_by_submission or is_newest_first)

    @property
    def _base_order(self) -> Order:
        if self._follows_index:
            return self.order
        return JobLists(self.session, self.reach, replace(self.filters, order_by="-created_at")).order

    def _position_of(self, row: Any) -> Position:
        return [getattr(row, column.name) for column in self._base_order]

    def _first_jobs(self, order: Order, start: _Start | None, count: int) -> Subquery:
        """Return the first *count* jobs from *start* on, in an *order* that an index has.

        Those of an owner are merged: PostgreSQL reads no more than they are in the states together.
        """
        jobs = select(*_COLUMNS).where(*self._indexed())
        if start is not None:
            jobs = jobs.where(start(order))
        jobs = jobs.order_by(*_elements(order)).limit(count)
        if not self._owner_ids:
            return jobs.subquery()
        states: list[ColumnElement[bool]] = [
            Job.state == JobState(state) for state in sorted(self.filters.states or JobState)
        ]
        if not self.filters.states:
            states.append(text(IS_OF_NEWER_RELEASE_SQL))  # type: ignore[arg-type]
        in_states = [jobs.where(state).subquery() for state in states]
        merged = union_all(*(select(each) for each in in_states)).subquery()
        return select(merged).order_by(*_elements(order_on(merged, order))).limit(count).subquery()

    def _window(self, start: _Start | None, more: int = 0) -> Subquery:
        return self._first_jobs(self._base_order, start, MAX_LOOKED_JOBS + more)

    async def _window_bounds(self, position: Position | None) -> _WindowBounds:
        """Return where the window behind *position* begins and ends, as one statement sees it.

        Jobs may be submitted before the next statement reads the window. Those before its first job would
        move its end, so the first window begins at its first job.
        """
        start = None if position is None else partial(behind, position=position)
        window = self._window(start, more=1)
        jobs = select(window).order_by(*_elements(order_on(window, self._base_order)))
        parts = jobs.limit(1).subquery(), jobs.offset(MAX_LOOKED_JOBS - 1).limit(2).subquery()
        bounds = union_all(*(select(part) for part in parts)).subquery()
        order = _elements(order_on(bounds, self._base_order))
        rows = (await self.session.execute(select(bounds).order_by(*order))).all()
        if start is None and rows:
            start = partial(at_or_behind, position=self._position_of(rows[0]))
        return _WindowBounds(start, rows[1:] if len(rows) == 3 else None)

    def _cut(self, matching: Select[Any], order: Order, position: Position | None) -> Select[Any]:
        rows = matching if position is None else matching.where(behind(order, position))
        return rows.order_by(*_elements(order)).limit(self.filters.limit + 1).offset(self.filters.offset)

    def _matching(self) -> Select[Any]:
        return select(Job).where(*self._indexed(), *self._others(Job, has_tag))

    def _indexed(self) -> list[ColumnElement[bool]]:
        """Return the conditions that the index of the list's order serves."""
        filters = self.filters
        conditions = self.reach.within(Job.owner_id, Job.id)
        if filters.owner_id is not None:
            conditions.append(Job.owner_id == filters.owner_id)
        if self._is_by_end:
            return [*conditions, Job.finished_at.is_not(None)]
        conditions.extend(self._created_within(Job))
        if filters.created_after is not None and not self._owner_ids:
            conditions.append(Job.id >= first_id_at(filters.created_after - MAX_CLOCK_SKEW))
        if filters.created_before is not None and not self._owner_ids:
            conditions.append(Job.id < first_id_at(filters.created_before + MAX_CLOCK_SKEW))
        return conditions

    def _created_within(self, jobs: Any) -> Iterator[ColumnElement[bool]]:
        if self.filters.created_after is not None:
            yield jobs.created_at >= self.filters.created_after
        if self.filters.created_before is not None:
            yield jobs.created_at < self.filters.created_before

    def _others(self, jobs: Any, has_tag: TagCondition) -> Iterator[ColumnElement[bool]]:
        """Yield the conditions that jobs are tested for one by one. *jobs* has the columns of jobs."""
        filters = self.filters
        if filters.found is not None:
            yield jobs.id == any_(literal(list(filters.found), ARRAY(Uuid)))
        if self._is_by_end:
            yield from self._created_within(jobs)
        if filters.states:
            yield jobs.state.in_(sorted(JobState(state) for state in filters.states))
        if filters.preset_id is not None:
            yield jobs.preset_id == filters.preset_id
        if filters.pipeline is not None:
            yield jobs.pipeline == filters.pipeline
        if filters.queue is not None:
            yield jobs.queue == filters.queue
        if filters.tag is not None:
            yield has_tag(jobs.id, filters.tag, self.reach)


def _elements(order: Order) -> list[ColumnElement[Any]]:
    return [column.ordered for column in order]
