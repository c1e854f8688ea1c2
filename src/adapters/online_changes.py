"""Changes of tables in use, for migrations: none of them keeps other sessions from writing.

Each is a transaction of its own, so a migration that is interrupted between two of them runs again from its
start: they leave what is there, and all other changes come after them. A new database, where nobody waits, is
migrated in one transaction.
"""

from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from msgspec import Struct
from sqlalchemy import Connection

from headrace.adapters.installed_schema import quote_identifier

BUILD_INDEX: Final = "build_index"
"""The option of a migration's context with an `IndexBuilder`."""
COMMITS_STEPS: Final = "commits_steps"
"""The option of a migration's context that says whether each change is committed at once."""


class NewIndex(Struct, frozen=True):
    """An index of a table that earlier migrations have created. *columns* and *where* are SQL."""

    name: str
    table: str
    columns: tuple[str, ...]
    where: str | None = None

    def definition(self, schema: str | None = None) -> str:
        """Return what follows `CREATE INDEX`. *schema*: that of the table, if no search path is set."""
        table = quote_identifier(self.table)
        if schema is not None:
            table = f"{quote_identifier(schema)}.{table}"
        where = "" if self.where is None else f" WHERE {self.where}"
        return f"{quote_identifier(self.name)} ON {table} ({', '.join(self.columns)}){where}"


IndexBuilder = Callable[[NewIndex], None]


def build_index(name: str, table: str, *columns: str, where: str | None = None) -> None:
    """Build an index while others read and write the table."""
    build: IndexBuilder = op.get_context().opts[BUILD_INDEX]
    build(NewIndex(name, table, columns, where))


def add_columns(table: str, *columns: sa.Column[Any]) -> None:
    """Add columns that are missing, and let go of the table before the next change.

    Two tables that one transaction locks may deadlock with another transaction.
    """
    for column in columns:
        op.add_column(table, column, if_not_exists=True)
    context = op.get_context()
    if context.opts[COMMITS_STEPS]:
        # It commits, and begins anew.
        with context.autocommit_block():
            pass


def build_in_transaction(connection: Connection, index: NewIndex) -> None:
    """Build an index in the open transaction; writers of the table wait until its end."""
    connection.exec_driver_sql(f"CREATE INDEX {index.definition()}")
