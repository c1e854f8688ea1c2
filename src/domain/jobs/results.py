"""Reads results, of which the large ones are stored once: as the outputs of the step that is the result."""

from typing import Any, Final

from sqlalchemy import ColumnElement, Text, and_, case, cast, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import JSON, aggregate_order_by
from sqlalchemy.orm.attributes import set_committed_value

from headrace.domain.base import Session
from headrace.domain.jobs.models import Job, StepRun
from headrace.domain.paging import json_size

_OUTPUT: Final = (
    select(StepRun.output)
    .where(StepRun.job_id == Job.id, StepRun.key == Job.result_step, StepRun.items.is_(None))
    .correlate(Job)
    .scalar_subquery()
)
_NULL: Final[ColumnElement[str]] = literal_column("'null'")
_OUTPUTS: Final = (
    select(
        cast(
            func.concat(
                "[",
                func.string_agg(
                    func.coalesce(cast(StepRun.output, Text), _NULL),
                    aggregate_order_by(literal_column("','"), StepRun.index),
                ),
                "]",
            ),
            JSON,
        )
    )
    .where(StepRun.job_id == Job.id, StepRun.name == Job.result_step, StepRun.index.is_not(None))
    .correlate(Job)
    .scalar_subquery()
)

RESULT: Final[ColumnElement[Any]] = case(
    (Job.result_step.is_(None), Job.result), else_=func.coalesce(_OUTPUT, _OUTPUTS, type_=JSON)
)
"""The result of a job, wherever it is stored: that of a `for_each` step is the list of its outputs."""

_OUTPUT_BYTES: Final = (
    select(func.sum(json_size(StepRun.output) + 1) + 1)
    .where(
        StepRun.job_id == Job.id,
        or_(
            and_(StepRun.key == Job.result_step, StepRun.items.is_(None)),
            and_(StepRun.name == Job.result_step, StepRun.index.is_not(None)),
        ),
    )
    .correlate(Job)
    .scalar_subquery()
)

RESULT_BYTES: Final[ColumnElement[int]] = case(
    (Job.result_step.is_(None), json_size(Job.result)), else_=func.coalesce(_OUTPUT_BYTES, 0)
)
"""The bytes of `RESULT`, or a few more, without building the list of outputs."""


async def load_result(session: Session, job: Job) -> None:
    """Set `result` of the job, if it is stored as the output of a step."""
    if job.result_step is not None:
        result = await session.execute(select(RESULT).where(Job.id == job.id))
        set_committed_value(job, "result", result.scalar_one_or_none())
