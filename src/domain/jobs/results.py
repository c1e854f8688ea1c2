"""Reads results, of which the large ones are stored once: as the outputs of the step that is the result."""

from collections.abc import Sequence
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


async def load_results(session: Session, jobs: Sequence[Job]) -> None:
    """Set `result` of those of the jobs whose result is stored as the output of a step."""
    by_id = {job.id: job for job in jobs if job.result_step is not None}
    if by_id:
        for job_id, result in await session.execute(select(Job.id, RESULT).where(Job.id.in_(by_id))):
            set_committed_value(by_id[job_id], "result", result)
