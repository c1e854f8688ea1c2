"""What workers and streams need of PostgreSQL: single statements, each its own transaction."""

from collections.abc import Sequence
from typing import Any, Protocol


class Row(Protocol):
    """A row, read by column name."""

    def __getitem__(self, column: str, /) -> Any: ...


class Database(Protocol):
    """Runs one statement with `$1`-style arguments and returns its rows."""

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]: ...
