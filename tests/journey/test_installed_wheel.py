"""The wheel works when it is installed into a new environment and used outside of the source tree.

The environment imports the dependencies of the tests' own environment, so no network is needed.
"""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from headrace.adapters.revisions import newest_revision
from headrace.adapters.servers import Servers
from journey.starting import call, over_folder, running, temporary_folder
from support.harness import new_database
from support.installations import build_package, create_environment, run

ROOT = Path(__file__).parents[2]

SETTINGS = "GREETING = 'good morning'\n"
PIPELINES = """
from msgspec import Struct

from headrace import Pipeline, StepContext, step
from settings import GREETING


class Params(Struct):
    name: str


@step
async def greet(context: StepContext[Params]) -> str:
    return f"{GREETING}, {context.params.name}"


@step(retries=0, runs_in="thread")
def count(context: StepContext[Params], word: str) -> int:
    return len(word)


@step(runs_in="process")
def shout(context: StepContext[Params]) -> str:
    return GREETING.upper()


greeting = Pipeline("greeting", params=Params)
greeting.add(shout)
greeting.add(count, for_each=lambda params: params.name.split())
greeting.add(greet, result=True)
"""
WRONG_CALLS = """
from app.pipelines import Params, count
from headrace import StepContext


def use(context: StepContext[Params]) -> None:
    length: int = count(context, "word")
    count(context, 3)
    count(context)
"""


class Installation:
    """An environment with the wheels of headrace and its client, and a user's project."""

    def __init__(self, folder: Path) -> None:
        self.wheels = folder / "dist"
        self.python = folder / "environment" / "bin" / "python"
        self.headrace = str(self.python.with_name("headrace"))
        self.project = folder / "project"

    def build(self) -> None:
        """Build the wheels, each from its sdist, and install them without a network."""
        for source in (ROOT, ROOT / "clients" / "python"):
            build_package(source, self.wheels)
        create_environment(self.python.parents[1], self.wheels)

    def write_project(self) -> None:
        """Write a project whose packages have the same names as packages of Headrace."""
        for name, text in {
            "settings/__init__.py": SETTINGS,
            "app/__init__.py": "",
            "app/pipelines.py": PIPELINES,
            "app/wrong_calls.py": WRONG_CALLS,
        }.items():
            path = self.project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    # Under root, PostgreSQL runs as another user, so its folder must be reachable for all users.
    with temporary_folder() as folder:
        installed = Installation(folder)
        installed.build()
        installed.write_project()
        yield installed
        assert over_folder(installed.project) == []


def _sources() -> list[str]:
    """Return the committed files of the package, or all of them in a copy without a history."""
    if (ROOT / ".git").exists():
        return run("git", "-C", str(ROOT), "ls-files", "src", "migrations").split()
    files = (
        file for folder in ("src", "migrations") for file in (ROOT / folder).rglob("*") if file.is_file()
    )
    return [str(file.relative_to(ROOT)) for file in files if file.suffix != ".pyc"]


def test_the_wheel_contains_migrations_assets_pages_and_types(installation: Installation) -> None:
    (wheel,) = installation.wheels.glob("headrace-*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())

    tracked = _sources()
    expected = {name.replace("src/", "headrace/", 1) for name in tracked if name.startswith("src/")}
    expected |= {f"headrace/{name}" for name in tracked if name.startswith("migrations/")}
    assert {"headrace/py.typed", "headrace/migrations/env.py", "headrace/web/docs/index.html"} <= expected
    assert expected - packed == set()


def test_python_imports_the_installed_package(installation: Installation) -> None:
    where = run(
        str(installation.python), "-c", "import headrace; print(headrace.__file__)", cwd=installation.project
    )

    assert where.startswith(str(installation.python.parents[1]))


def test_the_package_runs_as_a_module(installation: Installation) -> None:
    printed = run(str(installation.python), "-m", "headrace", "--version", cwd=installation.project)

    assert printed == run(installation.headrace, "--version", cwd=installation.project)
    assert printed.startswith("headrace ")


@pytest.mark.slow
def test_up_runs_jobs_of_a_project_with_packages_app_and_settings(installation: Installation) -> None:
    arguments = ("up", "--port", "0")
    project, program = installation.project, installation.headrace
    with running(*arguments, program=program, cwd=project, HEADRACE_PIPELINES="app.pipelines") as up:
        url = up.line("address").split()[-1]
        up.line("try")

        def submit(pipeline: str, params: str) -> "subprocess.CompletedProcess[str]":
            arguments = ("submit", pipeline, "--params", params, "--watch")
            return call(*arguments, program=program, cwd=project, HEADRACE_URL=url)

        greeting = submit("greeting", '{"name": "Ada Lovelace"}')
        crunch = submit("crunch", '{"seconds": 0}')
        jobs = call("jobs", "--json", program=program, cwd=project, HEADRACE_URL=url)

    assert greeting.returncode == 0, greeting.stdout + greeting.stderr
    assert crunch.returncode == 0, crunch.stdout + crunch.stderr
    assert "good morning, Ada Lovelace" in jobs.stdout
    assert (installation.project / ".headrace" / "logs" / "worker-1.log").is_file()


async def test_migrate_upgrades_a_database_to_the_newest_revision(
    installation: Installation, servers: Servers
) -> None:
    async with new_database(str(servers.database_url), "template0") as url:
        migration = call(
            "migrate", program=installation.headrace, cwd=installation.project, HEADRACE_DATABASE_URL=url
        )
        connection = await asyncpg.connect(url)
        revision = await connection.fetchval("SELECT version_num FROM alembic_version")
        await connection.close()

    assert migration.returncode == 0, migration.stderr
    assert revision == newest_revision()


def test_a_strict_type_check_of_a_users_module_passes(installation: Installation) -> None:
    assert _mypy(installation, "app/pipelines.py").startswith("Success")


def test_a_type_check_finds_wrong_calls_of_a_step(installation: Installation) -> None:
    printed = _mypy(installation, "app/wrong_calls.py", check=False)

    errors = [line for line in printed.splitlines() if ": error: " in line]
    assert [line.partition(": error: ")[0] for line in errors] == [
        "app/wrong_calls.py:8",
        "app/wrong_calls.py:9",
    ]
    assert '"int"; expected "str"' in errors[0]
    assert "Missing positional argument" in errors[1] or "Too few arguments" in errors[1]


def _mypy(installation: Installation, path: str, *, check: bool = True) -> str:
    cache = os.devnull
    return run(
        *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary" if not check else "--pretty"),
        *("--python-executable", str(installation.python), "--cache-dir", cache, path),
        cwd=installation.project,
        check=check,
    )


def test_the_installed_command_writes_a_project_and_the_plugin_of_pytest_is_installed(
    installation: Installation, tmp_path: Path
) -> None:
    run(installation.headrace, "new", "my-pipes", cwd=tmp_path)
    shown = run(str(installation.python), "-m", "pytest", "--fixtures", "-q", cwd=tmp_path / "my-pipes")
    passed = run(str(installation.python), "-m", "pytest", "-q", cwd=tmp_path / "my-pipes")

    assert "headrace_service [session scope]" in shown
    assert "3 passed" in passed
