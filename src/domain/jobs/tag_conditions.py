"""The condition that a job has a tag, in the form that is fast for a few jobs and for a window of many."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal_column, select

from headrace.domain.accounts.reach import Reach
from headrace.domain.tags.models import JOB_TAGS, Tag

TagCondition = Callable[[Any, str, Reach], ColumnElement[bool]]


def has_tag(job_id: Any, tag: str, reach: Reach) -> ColumnElement[bool]:
    """Return the condition that a job has a tag, for a few jobs."""
    links = select(JOB_TAGS.c.job_id).join(Tag, Tag.id == JOB_TAGS.c.tag_id)
    condition: ColumnElement[bool] = job_id.in_(links.where(Tag.name == tag, *reach.within(Tag.owner_id)))
    return condition


def is_tagged(job_id: Any, tag: str, reach: Reach) -> ColumnElement[bool]:
    """Return the same condition for each job of a window.

    The LIMIT keeps PostgreSQL from collecting all jobs of the tag: it looks up the tags of each job.
    """
    links: Select[Any] = (
        select(literal_column("true")).select_from(JOB_TAGS).join(Tag, Tag.id == JOB_TAGS.c.tag_id)
    )
    links = links.where(JOB_TAGS.c.job_id == job_id, Tag.name == tag, *reach.within(Tag.owner_id))
    return func.coalesce(links.limit(1).scalar_subquery(), literal_column("false"))
