"""A worker process imports neither the ORM nor the web framework, so that it starts fast and stays small."""

import subprocess
import sys


def test_a_worker_imports_no_orm_and_no_web_framework() -> None:
    program = "import sys, headrace.workers.main; print(*sys.modules, sep='\\n')"

    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    ).stdout

    modules = set(printed.split())
    assert "headrace.workers.main" in modules
    assert (
        modules & {"advanced_alchemy", "alembic", "litestar", "sqlalchemy", "strawberry", "uvicorn"} == set()
    )
