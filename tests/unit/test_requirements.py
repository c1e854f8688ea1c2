"""The table of requirements is complete, and the tests and files that it names exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (S\d-\d+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs" / "requirements.md").read_text())
ROWS_OF = {"S0": 16, "S1": 20, "S2": 6, "S3": 26, "S4": 33}


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def exists(named: str) -> bool:
    """Return whether a test, a make target or a file of that name exists."""
    path, _, test = named.partition("::")
    if named.startswith("make "):
        target = re.compile(rf"^{re.escape(named[5:])}:", re.MULTILINE)
        return target.search((ROOT / "Makefile").read_text()) is not None
    return (ROOT / path).is_file() and (not test or test in names_in(path))


def test_every_row_appears_once_and_in_order() -> None:
    expected = [f"{part}-{number}" for part, count in ROWS_OF.items() for number in range(1, count + 1)]

    assert [row for row, _, _ in ROWS] == expected


@pytest.mark.parametrize(("row", "requirement", "evidence"), ROWS, ids=[row for row, _, _ in ROWS])
def test_everything_that_a_row_names_exists(row: str, requirement: str, evidence: str) -> None:
    named = re.findall(r"`((?:tests|docs|src)/[^`]+|make [^`]+|Containerfile|compose\.yaml)`", evidence)

    assert len(requirement.split()) <= 8
    assert named
    assert [name for name in named if not exists(name)] == []


def test_missing_names_are_detected() -> None:
    here = "tests/unit/test_requirements.py"

    assert exists(f"{here}::test_missing_names_are_detected")
    assert not exists(f"{here}::test_of_another_name")
    assert not exists("tests/unit/test_nothing.py::test_missing_names_are_detected")
    assert not exists("make nothing")
