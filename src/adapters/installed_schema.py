"""Names the schema in which this installation lives, and finds it if no setting does.

Every session has a search path of that one schema, so each statement names its tables without it.
"""

import re
from typing import Final

from headrace.domain.database import Database, DatabaseMisconfiguredError

DEFAULT_SCHEMA: Final = "headrace"
DEFAULT_NOTE: Final = "used without HEADRACE_DATABASE_SCHEMA"
"""The comment of `schema_mark` in the default schema, if it was migrated without the setting."""
MISSING_RIGHTS: Final = "missing rights"

_MAX_BYTES: Final = 63
_IDENTIFIER: Final = re.compile(r"[^\W\d][\w$-]*")
_RESERVED: Final = re.compile(r"pg_.*|information_schema", re.IGNORECASE)

# Functions are named with their schema, because others may create some in the path on which these run.
# Two tables together, since other applications use Alembic as well. The default schema comes last: its name
# may have been given to another installation, and may be that of the role.
_FIND_IN_PATH: Final = """
SELECT n.nspname
FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS path(name, place)
JOIN pg_namespace n ON n.nspname = path.name
WHERE 2 = (
    SELECT pg_catalog.count(*) FROM pg_class c
    WHERE c.relnamespace = n.oid AND c.relname IN ('alembic_version', 'step_runs') AND c.relkind = 'r'
)
ORDER BY {order} path.place LIMIT 1
"""
_FIND_NOTED_DEFAULT: Final = """
SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = '{schema}' AND c.relname = 'schema_mark'
  AND pg_catalog.obj_description(c.oid, 'pg_class') = '{note}'
"""
_QUOTED: Final = """ '"' || pg_catalog.replace({name}::text, '"', '""') || '"' """
# Of the schema in the search path.
_FIND_UNUSABLE: Final = """
SELECT nspname AS schema, current_user AS role FROM pg_namespace
WHERE current_setting('search_path') = '"' || replace(nspname::text, '"', '""') || '"'
  AND NOT has_schema_privilege(oid, 'USAGE')
"""
_NAME: Final = "SELECT coalesce(current_schema(), current_setting('search_path')) AS name"


def quote_identifier(name: str) -> str:
    """Return *name* as SQL spells an identifier whose letters are kept."""
    return '"' + name.replace('"', '""') + '"'


def find_name_fault(name: str) -> str | None:
    """Return what is wrong with *name* as that of a schema; None if nothing is."""
    if _IDENTIFIER.fullmatch(name) is None:
        return f"{name!r} is not a name of letters, digits, _, - and $ that begins with a letter or _"
    if len(name.encode()) > _MAX_BYTES:
        return f"{name!r} has more than {_MAX_BYTES} bytes"
    if _RESERVED.fullmatch(name):
        return f"{name!r} is reserved by PostgreSQL"
    return None


def search_path_query(*, is_path_given: bool) -> str:
    """Return an SQL expression for the search path of an installation that no setting names.

    The tables that exist decide. Without any it is the default schema, or, if the URL gives a path
    (*is_path_given*), the first schema of that path which exists.
    """
    if is_path_given:
        candidates = f"({_FIND_IN_PATH.format(order='')}), pg_catalog.current_schema()"
    else:
        noted = _FIND_NOTED_DEFAULT.format(schema=DEFAULT_SCHEMA, note=DEFAULT_NOTE)
        in_path = _FIND_IN_PATH.format(order=f"n.nspname = '{DEFAULT_SCHEMA}',")
        candidates = f"({noted}), ({in_path}), '{DEFAULT_SCHEMA}'"
    quoted = _QUOTED.format(name=f"coalesce({candidates})")
    return f"coalesce({quoted}, pg_catalog.current_setting('search_path'))"


async def fetch_schema_name(database: Database) -> str:
    """Return the name of the schema that the sessions of *database* use; it may not exist yet."""
    (row,) = await database.fetch(_NAME)
    return str(row["name"]).strip('"')


async def require_usable_schema(database: Database) -> None:
    """Check that the role may use the schema, if it exists. PostgreSQL hides its tables otherwise.

    Raises:
        DatabaseMisconfiguredError: it may not.
    """
    for row in await database.fetch(_FIND_UNUSABLE):
        raise refused_schema(row["schema"], row["role"])


def refused_schema(schema: str, role: str) -> DatabaseMisconfiguredError:
    """Return the error of a role that may not use a schema."""
    return DatabaseMisconfiguredError(
        f"the role {role} may not use the schema {schema}; an administrator runs:"
        f" GRANT USAGE ON SCHEMA {quote_identifier(schema)} TO {quote_identifier(role)}",
        MISSING_RIGHTS,
    )
