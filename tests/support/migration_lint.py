"""Finds what a migration throws away without saying so."""

import ast
import re
from typing import Final

_DROPS: Final = ("drop_table", "drop_column")
_SQL: Final = re.compile(r"\b(drop\s+(table|column)|truncate)\b", re.IGNORECASE)
_MARKER: Final = re.compile(r"#\s*drops:\s*\S+")


def unmarked_drops(source: str) -> list[str]:
    """The drops outside of `downgrade` that no comment `# drops: why` explains, as `line: what`.

    The comment stands on the line of the drop or on the one before it.
    """
    lines = source.splitlines()
    found = []
    for part in ast.parse(source).body:
        if isinstance(part, ast.FunctionDef) and part.name == "downgrade":
            continue
        for node in ast.walk(part):
            what = _drop(node)
            if what is None:
                continue
            near = lines[max(node.lineno - 2, 0) : node.lineno]  # type: ignore[attr-defined]
            if not any(_MARKER.search(line) for line in near):
                found.append(f"{node.lineno}: {what}")  # type: ignore[attr-defined]
    return found


def _drop(node: ast.AST) -> str | None:
    """What *node* drops, if it is a call or a statement in SQL that does."""
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return name if name in _DROPS else None
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and (match := _SQL.search(node.value)):
        return match[1].lower()
    return None
