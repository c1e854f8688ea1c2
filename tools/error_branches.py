"""How many of the error branches of a folder ran in the tests. Ends with 1 if too few did, or none is there.

`error_branches.py REPORT FOLDER [LEAST]`: REPORT is what `coverage json` wrote, FOLDER is named as in it, and
LEAST is the share in percent that must have run (90).

An error branch is

- a `raise` statement, with or without an exception; it ran when its line did, and
- the body of an `except` or `except*` clause; it ran when its first statement did. That the clause's own line
  ran is not enough: it also runs for an exception that the clause does not catch.

A body that begins with a `raise` is one branch. A `raise` further down in a body is a branch beside that of
the body. What coverage.py leaves out, such as a line with `# pragma: no cover`, did not run. `finally`,
`contextlib.suppress` and refusals that are returned are no error branches.
"""

import ast
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

LEAST: Final = 90.0
TOO_FEW, WRONGLY_CALLED = 1, 2


class Branch(Struct, frozen=True, order=True):
    """An error branch, by the line of its first statement."""

    path: str
    line: int
    source: str


def branches_in(path: str, text: str) -> list[Branch]:
    """The error branches of a module, from top to bottom."""
    lines = text.splitlines()
    starts: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Raise):
            starts.add(node.lineno)
        elif isinstance(node, ast.ExceptHandler):
            starts.add(node.body[0].lineno)
    return [Branch(path, line, lines[line - 1].strip()) for line in sorted(starts)]


def judge(branches: list[Branch], ran: dict[str, set[int]], least: float = LEAST) -> tuple[int, list[str]]:
    """Return the exit code and the lines to print. *ran*: the numbers of the lines that ran, by path."""
    missed = [branch for branch in branches if branch.line not in ran.get(branch.path, set())]
    count = len(branches) - len(missed)
    share = 100 * count / len(branches) if branches else 0.0
    lines = [f"{branch.path}:{branch.line}: did not run: {branch.source}" for branch in missed]
    lines.append(f"error branches: {count} of {len(branches)} ran, {share:.1f} % (at least {least:g} %)")
    return TOO_FEW if not branches or share < least else 0, lines


def main(arguments: list[str]) -> int:
    if len(arguments) not in (2, 3):
        print("error_branches.py REPORT FOLDER [LEAST]", file=sys.stderr)
        return WRONGLY_CALLED
    report: dict[str, Any] = msgspec.json.decode(Path(arguments[0]).read_bytes())
    ran = {path: set(file["executed_lines"]) for path, file in report["files"].items()}
    files = sorted(Path(arguments[1]).rglob("*.py"))
    branches = [branch for file in files for branch in branches_in(file.as_posix(), file.read_text())]
    code, lines = judge(branches, ran, *map(float, arguments[2:]))
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
