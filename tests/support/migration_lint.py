"""Finds drops in a migration that no comment explains."""

import ast
import re
from typing import Final

_DROPS: Final = ("drop_table", "drop_column")
_SQL: Final = re.compile(r"\b(drop\s+(table|column)|truncate)\b", re.IGNORECASE)
_MARKER: Final = re.compile(r"#\s*drops:\s*\S+")


def unmarked_drops(source: str) -> list[str]:
    """Return the drops outside of `downgrade` without a comment `# drops: why`, as `line: what`.

    The comment must be on the line of the drop or on the line before it.
    """
    lines = source.splitlines()
    drops = []
    for part in ast.parse(source).body:
        if isinstance(part, ast.FunctionDef) and part.name == "downgrade":
            continue
        for node in ast.walk(part):
            what = _drop(node)
            if what is None:
                continue
            near = lines[max(node.lineno - 2, 0) : node.lineno]  # type: ignore[attr-defined]
            if not any(_MARKER.search(line) for line in near):
                drops.append(f"{node.lineno}: {what}")  # type: ignore[attr-defined]
    return drops


def _drop(node: ast.AST) -> str | None:
    """Return what *node* drops, if it is such a call or SQL statement."""
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return name if name in _DROPS else None
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and (match := _SQL.search(node.value)):
        return match[1].lower()
    return None
