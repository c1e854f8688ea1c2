"""A process saves its coverage data, also when it exits at once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from coverage import CoverageData

TOOLS = Path(__file__).parents[2] / "tools"

LEAVES = """
import os
os._exit(3)
"""
KILLS_ITS_GROUP = """
import os, signal
os.killpg(0, signal.SIGKILL)
"""
LEAVES_IN_A_THREAD_WHILE_THE_GROUP_IS_KILLED = """
import os, signal, threading
threading.Thread(target=lambda: os._exit(3)).start()
os.killpg(0, signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("source", "statuses"),
    [
        (LEAVES, {3}),
        (KILLS_ITS_GROUP, {-signal.SIGKILL}),
        (LEAVES_IN_A_THREAD_WHILE_THE_GROUP_IS_KILLED, {3, -signal.SIGKILL}),
    ],
)
def test_a_process_that_exits_at_once_saves_its_coverage(
    tmp_path: Path, source: str, statuses: set[int]
) -> None:
    script = tmp_path / "leaving.py"
    script.write_text(source)
    (tmp_path / ".coveragerc").write_text("[run]\nplugins = coverage_at_exit\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}

    ended = subprocess.run(
        [sys.executable, "-m", "coverage", "run", script.name],
        cwd=tmp_path,
        env=kept | {"PYTHONPATH": str(TOOLS)},
        process_group=0,
        check=False,
    )

    assert ended.returncode in statuses
    data = CoverageData(str(tmp_path / ".coverage"))
    data.read()
    assert {2, 3} <= set(data.lines(str(script)) or [])
