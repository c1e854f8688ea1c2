"""Cursors: they name a position in one list, and nothing else is taken for one."""

import base64
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy.dialects import postgresql

from headrace.domain.accounts.models import User
from headrace.domain.cursors import (
    CursorInvalidError,
    Order,
    SortColumn,
    behind,
    decode_cursor,
    encode_cursor,
)
from headrace.domain.jobs.filters import JobFilter
from headrace.domain.jobs.id_times import first_id_at
from headrace.domain.jobs.job_lists import SORT_COLUMNS
from headrace.domain.jobs.models import Job
from headrace.domain.jobs.states import JobState
from headrace.domain.paging import scope_of, sort_order

ID = UUID("01a1fcda-1222-71e3-b3dd-702451ba443d")
MOMENT = datetime(2030, 1, 2, 3, 4, 5, 678901, UTC)
NEWEST = sort_order(SORT_COLUMNS, "-created_at", Job.id)
BY_END = sort_order(SORT_COLUMNS, "finished_at", Job.id)
BY_PRIORITY = sort_order(SORT_COLUMNS, "-priority", Job.id)
BY_NAME = (SortColumn(User.username), SortColumn(User.id))


@pytest.mark.parametrize(
    ("order", "position"),
    [
        (NEWEST, [MOMENT, ID]),
        (BY_END, [None, ID]),
        (BY_END, [MOMENT, ID]),
        (BY_PRIORITY, [9, ID]),
        (BY_NAME, ["Zoë — 100 %", ID]),
    ],
)
def test_a_cursor_names_the_position_that_it_was_made_of(order: Order, position: list[Any]) -> None:
    cursor = encode_cursor("list", position)

    assert decode_cursor("list", cursor, order) == position
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def forged(*values: Any) -> str:
    """Return a cursor of the list `list` with those values."""
    digest = msgspec.json.decode(base64.urlsafe_b64decode(encode_cursor("list", []) + "=="))[0]
    return base64.urlsafe_b64encode(msgspec.json.encode([digest, *values])).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "nope",
        "*" * 20,
        "é",
        base64.b64encode(b"[" * 1_400).decode(),
        base64.b64encode(b"{}").decode(),
        base64.b64encode(b"[]").decode(),
        forged(),
        forged(MOMENT),
        forged(MOMENT, ID, ID),
        forged(ID, MOMENT),
        forged(None, ID),
        forged("2030-01-02T03:04:05", ID),
        forged("9999999999-01-01T00:00:00Z", ID),
        forged(MOMENT, "01a1fcda"),
        encode_cursor("another list", [MOMENT, ID]),
    ],
)
def test_anything_else_is_refused(cursor: str) -> None:
    with pytest.raises(CursorInvalidError, match="after is not a cursor of this list"):
        decode_cursor("list", cursor, NEWEST)


@pytest.mark.parametrize(("order", "value"), [(BY_NAME, "a\0b"), (BY_PRIORITY, 2**64), (BY_PRIORITY, True)])
def test_values_that_postgresql_does_not_store_are_refused(order: Order, value: Any) -> None:
    with pytest.raises(CursorInvalidError):
        decode_cursor("list", forged(value, ID), order)


@pytest.mark.parametrize(
    ("order", "position", "condition"),
    [
        (NEWEST, [MOMENT, ID], "(jobs.created_at, jobs.id) < (%s, %s)"),
        (BY_PRIORITY, [1, ID], "(jobs.priority, jobs.id) < (%s, %s)"),
        (BY_NAME, ["a", ID], "(users.username, users.id) > (%s, %s)"),
        (BY_END, [MOMENT, ID], "(jobs.finished_at, jobs.id) > (%s, %s) OR jobs.finished_at IS NULL"),
        (BY_END, [None, ID], "jobs.finished_at IS NULL AND (jobs.id) > (%s)"),
    ],
)
def test_rows_behind_a_position_are_found_by_one_comparison(
    order: Order, position: list[Any], condition: str
) -> None:
    compiled = behind(order, position).compile(dialect=postgresql.dialect(paramstyle="format"))  # type: ignore[no-untyped-call]

    assert str(compiled).replace("::UUID", "") == condition


def test_the_scope_of_a_list_holds_its_filters_and_not_its_page() -> None:
    filters = JobFilter(states={JobState.FAILED, JobState.QUEUED}, tag="a")
    same = JobFilter(
        states={JobState.QUEUED, JobState.FAILED}, tag="a", limit=7, offset=3, after="x", found=[ID]
    )

    assert scope_of("jobs", ID, filters) == scope_of("jobs", ID, same)
    assert len({
        scope_of("jobs", ID, filters),
        scope_of("jobs", None, filters),
        scope_of("files", ID, filters),
        scope_of("jobs", ID, JobFilter(tag="b")),
        scope_of("jobs", ID, JobFilter(tag="a", order_by="priority")),
    }) == 5  # fmt: skip


def test_the_first_id_at_a_moment_is_not_above_any_id_of_it() -> None:
    assert first_id_at(MOMENT).version == 7
    assert (
        first_id_at(MOMENT)
        < first_id_at(MOMENT.replace(microsecond=680_000))
        <= UUID(int=(int(MOMENT.timestamp() * 1000) + 2 << 80) | (7 << 76) | (2 << 62) | 5)
    )
    assert first_id_at(datetime(1960, 1, 1, tzinfo=UTC)) == UUID(int=(7 << 76) | (2 << 62))
