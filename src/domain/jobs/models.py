"""The tables of jobs, step runs and idempotency keys."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from advanced_alchemy.base import DefaultBase, UUIDv7AuditBase
from advanced_alchemy.types import DateTimeUTC
from sqlalchemy import (
    CheckConstraint,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    TypeDecorator,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from headrace.domain.base import DATABASE_NOW
from headrace.domain.files.models import File
from headrace.domain.jobs.claim_rules import (
    HEAD_START_SQL,
    IS_SUSPECT_SQL,
    MAY_BE_CLAIMED_SQL,
    due_order_check_sql,
)
from headrace.domain.jobs.states import JobState, StepState, read_state
from headrace.domain.pipelines.models import PipelineVersion
from headrace.domain.pipelines.versions import VERSION_KEY_SQL
from headrace.domain.tags.models import JOB_TAGS, Tag

_STATE_LENGTH: Final = 16


class _StateColumn(TypeDecorator[Any]):
    """A column of states that also reads those that only a newer release knows."""

    impl = String
    cache_ok = True

    def __init__(self, kind: type[JobState] | type[StepState]) -> None:
        super().__init__(_STATE_LENGTH)
        self.kind = kind

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        kind: type[Any] = self.kind
        return None if value is None else read_state(kind, value)


def _is_one_of(kind: type[JobState] | type[StepState], name: str) -> CheckConstraint:
    states = ", ".join(f"'{state}'" for state in kind)
    return CheckConstraint(f"state IN ({states})", name=name)


class Job(UUIDv7AuditBase):
    """One submitted run of a pipeline.

    A large result is not in *result*: it is the output of the step that *result_step* names, see `results`.
    A job with *keep* is pinned: it is never pruned.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        ForeignKeyConstraint(["pipeline", "version"], ["pipelines.name", "pipelines.version"]),
        _is_one_of(JobState, "state"),
        CheckConstraint("progress BETWEEN 0 AND 1", name="progress_is_a_fraction"),
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority_0_to_9"),
        CheckConstraint(due_order_check_sql(), name="due_order"),
        CheckConstraint("(state = 'running') = (lease_owner IS NOT NULL)", name="running_has_a_lease"),
        CheckConstraint("(lease_owner IS NULL) = (lease_expires_at IS NULL)", name="lease_has_an_end"),
        CheckConstraint(
            "(state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name="final_has_an_end",
        ),
        Index(
            "ix_jobs_due",
            "queue",
            text(VERSION_KEY_SQL),
            "needs_process",
            text(HEAD_START_SQL),
            "due_order",
            postgresql_where=text(MAY_BE_CLAIMED_SQL),
        ),
        Index("ix_jobs_holder", "lease_owner", postgresql_where=text("state = 'running'")),
        Index(
            "ix_jobs_to_cancel",
            "lease_owner",
            postgresql_where=text("state = 'running' AND cancel_requested_at IS NOT NULL"),
        ),
        Index("ix_jobs_suspect", "queue", postgresql_where=text(f"state = 'queued' AND {IS_SUSPECT_SQL}")),
        Index(
            "ix_jobs_late", "id", postgresql_where=text("state = 'queued' AND ran_seconds >= timeout_seconds")
        ),
        Index("ix_jobs_owner_state", "owner_id", "state", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_jobs_owner_finished",
            "owner_id",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL"),
        ),
        Index("ix_jobs_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index("ix_jobs_owner_again", "owner_id", postgresql_where=text("state = 'queued' AND attempt > 0")),
        Index("ix_jobs_pipeline", "pipeline", "version"),
        Index(
            "ix_jobs_prunable",
            "pipeline",
            "version",
            "state",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL AND NOT keep"),
        ),
        Index("ix_jobs_pinned", "finished_at", postgresql_where=text("keep")),
        Index("ix_jobs_preset", "preset_id", postgresql_where=text("preset_id IS NOT NULL")),
    )

    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    preset_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("presets.id", ondelete="SET NULL"), default=None
    )
    request_id: Mapped[str | None] = mapped_column(String(64), default=None)
    traceparent: Mapped[str | None] = mapped_column(String(64), default=None)
    tokens_valid_after: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)
    pipeline: Mapped[str] = mapped_column(String(64))
    version: Mapped[int]
    state: Mapped[JobState] = mapped_column(_StateColumn(JobState), default=JobState.QUEUED)
    params: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    meta: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    result: Mapped[Any | None] = mapped_column(JSON(none_as_null=True), default=None)
    result_step: Mapped[str | None] = mapped_column(String(64), default=None)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True), default=None)

    queue: Mapped[str] = mapped_column(String(64), default="default")
    priority: Mapped[int] = mapped_column(SmallInteger, default=5)
    run_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
    due_order: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
    max_attempts: Mapped[int | None] = mapped_column(default=None)
    timeout_seconds: Mapped[float | None] = mapped_column(default=None)

    ran_seconds: Mapped[float] = mapped_column(default=0.0, server_default="0")
    needs_process: Mapped[bool] = mapped_column(default=False, server_default="false")
    attempt: Mapped[int] = mapped_column(default=0, server_default="0")
    losses: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    fence: Mapped[int] = mapped_column(default=0, server_default="0")
    write_no: Mapped[int] = mapped_column(default=0, server_default="0")
    lease_owner: Mapped[str | None] = mapped_column(String(64), default=None)
    lease_expires_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)
    cancel_requested_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)
    started_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)
    finished_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)

    progress: Mapped[float] = mapped_column(default=0.0, server_default="0")
    progress_steps: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True), default=None)
    event_seq: Mapped[int] = mapped_column(default=0, server_default="0")
    log_events: Mapped[int] = mapped_column(default=0, server_default="0")
    keep: Mapped[bool] = mapped_column(default=False, server_default="false")

    tags: Mapped[list[Tag]] = relationship(
        secondary=JOB_TAGS, lazy="raise", order_by=Tag.name, passive_deletes=True
    )
    # Only for loading with many jobs in one statement; these rows are written elsewhere.
    definition: Mapped[PipelineVersion] = relationship(lazy="raise", viewonly=True)
    files: Mapped[list[File]] = relationship(lazy="raise", viewonly=True, order_by=(File.created_at, File.id))
    step_runs: Mapped[list["StepRun"]] = relationship(
        primaryjoin="Job.id == foreign(StepRun.job_id)", lazy="raise", viewonly=True
    )


class StepRun(DefaultBase):
    """The execution of one step, or of one item of a `for_each` step, in a job.

    Besides the rows of its items, with the keys `name[index]`, a `for_each` step has a row of its own with
    the key `name`. It stores the *items*, which are computed only once. A trigger deletes the rows of a
    deleted job.
    """

    __tablename__ = "step_runs"
    __table_args__ = (
        _is_one_of(StepState, "step_state"),
        CheckConstraint("tries >= 0", name="tries_not_negative"),
    )

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(80), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    index: Mapped[int | None] = mapped_column(default=None)
    state: Mapped[StepState] = mapped_column(_StateColumn(StepState))
    attempt: Mapped[int] = mapped_column(default=0)
    tries: Mapped[int] = mapped_column(default=0)
    items: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    output: Mapped[Any | None] = mapped_column(JSON(none_as_null=True), default=None)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True), default=None)
    retry_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)
    started_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)
    finished_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)


class IdempotencyKey(DefaultBase):
    """The caller's name for one submission, with its request and the response that it got.

    *request_digest* is None in rows of the previous release, which compares *request*.
    """

    __tablename__ = "idempotency_keys"

    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(128), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(
        DateTimeUTC(timezone=True), server_default=DATABASE_NOW, index=True
    )
    request: Mapped[Any] = mapped_column(JSONB)
    request_digest: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)
    answer: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)
