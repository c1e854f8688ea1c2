"""What somebody wants done, before it is a job. Pure."""

from collections.abc import Set
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from msgspec import Struct


class JobSpec(Struct, frozen=True, kw_only=True):
    """One submission. *run_at* None: now; *version* None: the newest."""

    pipeline: str
    params: dict[str, Any]
    version: int | None = None
    run_at: datetime | None = None
    priority: int = 5
    queue: str = "default"
    max_attempts: int | None = None
    timeout_seconds: float | None = None
    tags: tuple[str, ...] = ()
    meta: dict[str, Any] = {}
    preset_id: UUID | None = None


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
