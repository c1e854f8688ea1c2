"""What somebody wants done, before it is a job. Pure."""

from collections.abc import Set
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct


class Include(StrEnum):
    """What may be shown with a job in one answer. Its tags' names always are."""

    STEPS = "steps"
    FILES = "files"
    TAGS = "tags"


class JobFilter(Struct, frozen=True, kw_only=True):
    """Which of the jobs within reach are wanted; None: all."""

    owner_id: UUID | None = None
    state: str | None = None
    pipeline: str | None = None
    tag: str | None = None
    search: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    preset_id: UUID | None = None
    order_by: str = "-created_at"
    limit: int = 100
    offset: int = 0
    parts: Set[Include] = frozenset()
