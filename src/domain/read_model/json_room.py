"""Bounds the JSON of one answer: values are read as long as there is room, and are `OMITTED` after that."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, SQLColumnExpression, case, func, or_

from headrace.domain.omissions import MAX_LISTED_BYTES, OMITTED
from headrace.domain.paging import json_size

_COLUMNS_PER_VALUE: Final = 2


class JsonRoom:
    """The bytes of JSON that an answer may still have. The values of the first object always have room."""

    def __init__(self) -> None:
        self._left = MAX_LISTED_BYTES

    def columns(
        self,
        values: Sequence[SQLColumnExpression[Any]],
        order: Sequence[Any],
        sizes: Sequence[ColumnElement[int]] | None = None,
    ) -> list[ColumnElement[Any]]:
        """Return two columns for each JSON value: the value, null without room, and whether it has none.

        Rows take their room in this *order*, each for all its values or for none. *sizes* are the bytes of
        the *values*, by default those of their texts.
        """
        if not values:
            return []
        first, *others = sizes or [json_size(value) for value in values]
        size = sum(others, first)
        # PostgreSQL computes a size for each place where it stands, and a window's sum once for all places.
        total = func.sum(size).over(order_by=order, rows=(None, 0))
        before = func.coalesce(func.sum(size).over(order_by=order, rows=(None, -1)), 0)
        has_room = or_(total == before, total <= self._left)
        if self._left == MAX_LISTED_BYTES:
            has_room = or_(has_room, before == 0)
        return [column for value in values for column in (case((has_room, value)), ~has_room)]

    def take(self, columns: Sequence[Any]) -> list[Any]:
        """Return the values of the *columns* of a row, and take their room."""
        values = []
        for value, is_omitted in zip(
            columns[::_COLUMNS_PER_VALUE], columns[1::_COLUMNS_PER_VALUE], strict=True
        ):
            values.append(OMITTED if is_omitted else value)
            if isinstance(value, msgspec.Raw):
                self._left -= memoryview(value).nbytes
        return values
