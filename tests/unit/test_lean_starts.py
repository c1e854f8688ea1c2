"""What is started often imports neither the ORM nor the web framework, so that it starts fast."""

import os
import subprocess
import sys

import pytest

FRAMEWORKS = {"advanced_alchemy", "graphql", "litestar", "strawberry", "uvicorn"}


def modules_of(program: str) -> set[str]:
    """Return the names of the modules that a process has imported at the end of *program*."""
    printed = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}; print(*sys.modules, sep='\\n')"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    return set(printed.split())


def test_a_worker_imports_no_orm_and_no_web_framework() -> None:
    modules = modules_of("import headrace.workers.main")

    assert "headrace.workers.main" in modules
    assert modules & (FRAMEWORKS | {"alembic", "prometheus_client", "sqlalchemy"}) == set()


def test_the_monitoring_of_a_worker_imports_no_orm_and_no_web_framework() -> None:
    modules = modules_of("import headrace.workers.monitoring.service")

    assert "prometheus_client" in modules
    assert modules & (FRAMEWORKS | {"alembic", "sqlalchemy"}) == set()


@pytest.mark.parametrize("module", ["headrace.cli.demo", "headrace.cli.doctor", "headrace.cli.start_checks"])
def test_the_commands_around_the_service_import_no_orm_and_no_web_framework(module: str) -> None:
    modules = modules_of(f"import headrace.cli.up, {module}")

    assert module in modules
    assert modules & (FRAMEWORKS | {"alembic", "sqlalchemy"}) == set()


def test_a_refused_start_of_the_api_imports_no_web_framework() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    command = [sys.executable, "-X", "importtime", "-m", "headrace", "api"]

    refused = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    modules = {line.rpartition("|")[2].strip() for line in refused.stderr.splitlines()}
    assert refused.returncode == 78
    assert "headrace.cli.start_checks" in modules
    assert modules & (FRAMEWORKS | {"sqlalchemy"}) == set()


def test_an_api_imports_nothing_that_the_small_demo_is_installed_without() -> None:
    modules = modules_of("import headrace.cli.server, headrace.app")

    assert "litestar" in modules
    assert modules & {"faker", "polyfactory"} == set()


def test_migrations_run_without_the_models() -> None:
    modules = modules_of("import headrace.adapters.migrations")

    assert "headrace.adapters.migrations" in modules
    assert modules & (FRAMEWORKS | {"headrace.domain.base"}) == set()


def test_the_plugin_of_pytest_imports_nothing_of_the_service() -> None:
    modules = modules_of("import headrace.pytest_plugin")

    assert {name for name in modules if name.startswith("headrace")} == {"headrace", "headrace.pytest_plugin"}
    assert "msgspec" not in modules


def test_an_author_imports_msgspec_and_no_pydantic() -> None:
    modules = modules_of("from headrace import Pipeline, task")

    assert "headrace.domain.pipelines.tasks" in modules
    assert (
        modules & (FRAMEWORKS | {"pydantic", "sqlalchemy", "structlog", "asyncio", "headrace.workers"})
        == set()
    )


def test_a_run_in_memory_imports_no_orm_no_queue_and_no_web_framework() -> None:
    modules = modules_of("import headrace.testing")

    assert modules & (FRAMEWORKS | {"arq", "pydantic", "redis", "sqlalchemy"}) == set()
