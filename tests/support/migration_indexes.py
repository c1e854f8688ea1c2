"""Finds indexes that a migration would build in its transaction, while the writers of a table wait."""

import ast
import re
from collections.abc import Iterator
from typing import Final

_ONLINE: Final = ("add_columns", "build_index")
_CREATE_INDEX: Final = re.compile(
    r"\bcreate\s+(?:unique\s+)?index\b(?:.*?\bon\s+(?:only\s+)?(?P<table>\w+))?", re.IGNORECASE | re.DOTALL
)
_CREATE_TABLE: Final = re.compile(r"\bcreate\s+table\s+(?:if\s+not\s+exists\s+)?(\w+)", re.IGNORECASE)


def blocking_indexes(source: str) -> list[str]:
    """Return the indexes of tables from earlier migrations that are not built online, as `line: what`.

    It also returns an online change (`headrace.adapters.online_changes`) that comes after another change: an
    interruption would leave that one committed without its revision, and it would fail in the next run.
    """
    tree = ast.parse(source)
    parts = [
        part for part in tree.body if not (isinstance(part, ast.FunctionDef) and part.name == "downgrade")
    ]
    nodes = [node for part in parts for node in ast.walk(part)]
    new_tables = {table for node in nodes for table in _created_tables(node)}
    faults = [
        f"{node.lineno}: index of {table}"  # type: ignore[attr-defined]
        for node in nodes
        for table in _indexed_tables(node)
        if table not in new_tables
    ]
    for part in parts:
        if isinstance(part, ast.FunctionDef) and part.name == "upgrade":
            faults += _late_changes(part)
    return faults


def _created_tables(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _CREATE_TABLE.findall(node.value)
    return [_table_of(node, 0)] if isinstance(node, ast.Call) and _name(node) == "create_table" else []


def _indexed_tables(node: ast.AST) -> Iterator[str]:
    """Yield the table of each index that *node* creates in the transaction; `?` if it is not a literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        for match in _CREATE_INDEX.finditer(node.value):
            yield match["table"] or "?"
    elif isinstance(node, ast.Call) and _name(node) == "create_index":
        yield _table_of(node, 1)
    elif isinstance(node, ast.Call) and _name(node) in ("add_column", "add_columns"):
        options = [
            keyword for call in ast.walk(node) if isinstance(call, ast.Call) for keyword in call.keywords
        ]
        if any(option.arg in ("index", "unique") for option in options):
            yield _table_of(node, 0)


def _late_changes(upgrade: ast.FunctionDef) -> Iterator[str]:
    """Yield the online changes that come after a change of another kind."""
    is_late = False
    for statement in upgrade.body:
        names = {_name(node): node.lineno for node in ast.walk(statement) if isinstance(node, ast.Call)}
        online = [name for name in names if name in _ONLINE]
        if is_late:
            yield from (f"{names[name]}: {name} after other changes" for name in online)
        is_late = is_late or (bool(names) and not online)


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _table_of(call: ast.Call, place: int) -> str:
    """Return the name of the table that a call has as a literal at *place*, or by name."""
    named = [keyword.value for keyword in call.keywords if keyword.arg in ("table_name", "table")]
    argument = named[0] if named else call.args[place] if len(call.args) > place else None
    return str(argument.value) if isinstance(argument, ast.Constant) else "?"
