"""The filters of job lists, and what else a response may include. Pure."""

from collections.abc import Sequence, Set
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from headrace.domain.paging import PageRequest


class Include(StrEnum):
    """A part of a job that a response includes on request. The names of its tags are always included."""

    STEPS = "steps"
    FILES = "files"
    TAGS = "tags"


class JobFilter(PageRequest, frozen=True, kw_only=True):
    """One page of the jobs that match every field; None matches all. Within the caller's reach only.

    Without *states*, jobs in all states match.
    *found*: only these jobs: those that contain the text *search*, by `JobSearch`, or match a rare filter.
    """

    owner_id: UUID | None = None
    states: Set[str] = frozenset()
    pipeline: str | None = None
    queue: str | None = None
    tag: str | None = None
    search: str | None = None
    found: Sequence[UUID] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    preset_id: UUID | None = None
    order_by: str = "-created_at"
    include: Set[Include] = frozenset()
