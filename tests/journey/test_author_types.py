"""The types of an author's functions survive the decorators, for mypy and for pyright."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from datetime import timedelta
from typing import Any, assert_type

from pydantic import BaseModel

from headrace import Pipeline, StepContext, step, task
from headrace.testing import run


class Size(BaseModel):
    width: int


@task
async def resize(width: int, height: int = 3) -> str:
    return f"{width}x{height}"


@task(retries=1, timeout=timedelta(seconds=5), runs_in="process", version=2, name="other", description="d")
def count(context: StepContext, words: list[str]) -> int:
    context.progress(1, 2)
    assert_type(context.params, Any)
    return len(words)


@step(runs_in="thread")
def measure(context: StepContext[Size]) -> int:
    assert_type(context.params, Size)
    return count(context, ["a"])


async def use() -> None:
    assert_type(await resize(width=3, height=4), str)
    assert_type(measure.name, str)
    await resize("a")  # wrong
    await resize()  # wrong


pipeline: Pipeline = resize
task(retry=3)  # wrong
done = run(resize, {"width": 3})
assert_type(done.state, str)
print(done.results)  # wrong
"""
WRONG = [number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# wrong")]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "typed.py"
    path.write_text(PROGRAM)
    return path


def test_mypy_finds_the_wrong_calls_and_nothing_else(program: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(program.parent / "cache")]
    checked = subprocess.run(
        [*command, str(program)],
        cwd=program.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = re.findall(r"typed\.py:(\d+): error", checked.stdout)
    assert [int(line) for line in lines] == WRONG, checked.stdout + checked.stderr


def test_pyright_finds_the_wrong_calls_and_nothing_else(program: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("pyright needs node, which is not installed")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    checked = subprocess.run(
        [*command, str(program)],
        cwd=program.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if checked.returncode not in (0, 1):
        pytest.skip(f"pyright cannot start here: {checked.stderr[-200:]}")
    lines = re.findall(r"typed\.py:(\d+):\d+ - error", checked.stdout)
    assert [int(line) for line in lines] == WRONG, checked.stdout + checked.stderr
