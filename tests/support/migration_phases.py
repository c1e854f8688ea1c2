"""Finds what a migration named `pre_` must not do, because the previous release runs meanwhile."""

import ast
import re
from typing import Final

_CALLS: Final = (
    "alter_column",
    "create_check_constraint",
    "create_exclude_constraint",
    "create_foreign_key",
    "create_unique_constraint",
    "drop_column",
    "drop_constraint",
    "drop_index",
    "drop_table",
    "rename_table",
)
_SQL: Final = re.compile(
    r"\b(drop\s+\w+|truncate|rename|set\s+not\s+null|alter\s+column\s+\S+\s+(set\s+data\s+)?type"
    r"|add\s+constraint(?!.*not\s+valid))\b",
    re.IGNORECASE | re.DOTALL,
)
_REQUIRED_COLUMN: Final = "add_column that must be given"


def breaking_changes(source: str) -> list[str]:
    """Return what `upgrade`, and what it calls, would break, as `line: what`.

    A function or trigger that is replaced (`CREATE OR REPLACE`) must serve both releases; no rule sees that.
    """
    changes: list[str] = []
    for part in ast.parse(source).body:
        if isinstance(part, ast.FunctionDef) and part.name == "downgrade":
            continue
        docstrings = {
            id(node.value)
            for node in ast.walk(part)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        changes += [
            f"{node.lineno}: {what}"  # type: ignore[attr-defined]
            for node in ast.walk(part)
            if id(node) not in docstrings and (what := _change(node)) is not None
        ]
    return changes


def _change(node: ast.AST) -> str | None:
    """Return what *node* changes for the previous release, if it is such a call or SQL statement."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and (match := _SQL.search(node.value)):
        return " ".join(match[1].lower().split())
    if not isinstance(node, ast.Call):
        return None
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name == "add_column" and _must_be_given(node):
        return _REQUIRED_COLUMN
    return name if name in _CALLS else None


def _must_be_given(call: ast.Call) -> bool:
    """Whether an INSERT of the previous release, which does not know the column, would fail."""
    options = {
        keyword.arg: keyword.value
        for node in ast.walk(call)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
    }
    nullable = options.get("nullable")
    is_required = isinstance(nullable, ast.Constant) and nullable.value is False
    return is_required and "server_default" not in options
