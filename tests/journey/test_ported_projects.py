"""The projects in docs/examples: what they were compiles, and what they became runs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from journey.starting import Up, temporary_folder, up
from support.patience import PATIENCE_SECONDS

EXAMPLES: Final = Path(__file__).parents[2] / "docs" / "examples"
BEFORE: Final = sorted(EXAMPLES.glob("*/before/*.py"))
AFTER: Final = sorted(EXAMPLES.glob("*/after/*.py"))
PIPELINES: Final = [file for file in AFTER if file.name != "submit.py"]
OUTPUT: Final = {"from_arq": "succeeded 42", "from_celery": "succeeded ", "from_rq": "succeeded 2"}
RUN_ARQ: Final = """
import asyncio, sys
from arq.connections import RedisSettings
from arq.worker import create_worker
import worker

async def main():
    worker.WorkerSettings.redis_settings = RedisSettings.from_dsn(sys.argv[1])
    running = asyncio.create_task(create_worker(worker.WorkerSettings, poll_delay=0.05).async_run())
    await worker.main()
    running.cancel()

asyncio.run(main())
"""
"""Runs the worker of the project until its program has the result."""


@pytest.fixture(scope="module")
def service() -> Iterator[Up]:
    """A service with the pipelines of all projects."""
    pipelines = ",".join(map(str, PIPELINES))
    with temporary_folder() as folder, up(folder, HEADRACE_PIPELINES=pipelines) as running:
        yield running


@pytest.mark.parametrize("project", OUTPUT)
def test_a_ported_project_runs(project: str, service: Up, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, EXAMPLES / project / "after" / "submit.py"],
        cwd=tmp_path,
        env={"HEADRACE_URL": service.url},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith(OUTPUT[project])


def test_a_ported_task_that_fails_has_the_code_of_its_author(service: Up) -> None:
    job = service.submit("album", "--params", '{"title": "Alps", "pictures": ["missing.jpg"]}')

    assert service.call("watch", job).returncode == 1
    assert "there is no picture missing.jpg" in service.call("show", job).stdout


def test_the_project_with_arq_gives_the_same_result(redis_url: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", RUN_ARQ, redis_url],
        cwd=EXAMPLES / "from_arq" / "before",
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert f"succeeded {result.stdout.strip()}" == OUTPUT["from_arq"]


@pytest.mark.parametrize("file", BEFORE, ids=lambda file: file.parent.parent.name)
def test_what_a_project_was_compiles(file: Path) -> None:
    compile(file.read_text(), file.name, "exec")


def test_each_project_has_both_sides() -> None:
    sides = {(file.parent.parent.name, file.parent.name) for file in (*BEFORE, *AFTER)}

    assert sides == {(project, side) for project in OUTPUT for side in ("before", "after")}
