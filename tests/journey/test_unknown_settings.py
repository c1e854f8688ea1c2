"""Each command that runs a part of the service warns once of a variable that is no setting."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest

from support.patience import PATIENCE_SECONDS

HEADRACE = Path(sys.executable).with_name("headrace")
WARNING = "HEADRACE_PIPELINE is not a setting (did you mean HEADRACE_PIPELINES?)"
# Nothing listens there, so what needs PostgreSQL waits.
NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"


def environment(folder: Path, **variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return {**kept, "HEADRACE_PIPELINE": "x.py", "HEADRACE_DATA_DIR": str(folder), **variables}


def run(folder: Path, *arguments: str) -> str:
    """Run a command to its end, and return what it printed."""
    result = subprocess.run(
        [str(HEADRACE), *arguments],
        env=environment(folder),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return result.stdout


def start(folder: Path, *arguments: str) -> str:
    """Start a part of a deployment, stop it once it waits for PostgreSQL, and return what it printed."""
    with subprocess.Popen(
        [str(HEADRACE), *arguments],
        env=environment(folder, HEADRACE_DATABASE_URL=NOWHERE),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        watchdog = Timer(PATIENCE_SECONDS, process.kill)
        watchdog.start()
        assert process.stdout is not None
        output = ""
        while "outage_began" not in output and (line := process.stdout.readline()):
            output += line
        process.terminate()
        output += process.stdout.read()
        watchdog.cancel()
    assert "outage_began" in output, output
    return output


@pytest.mark.parametrize("command", [["api", "--port", "0"], ["worker"]])
def test_a_part_of_a_deployment_logs_the_warning_once(tmp_path: Path, command: list[str]) -> None:
    output = start(tmp_path, *command)

    assert output.count(WARNING) == 1
    assert output.index("unknown_settings") < output.index(WARNING)


def test_up_shows_the_warning_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        # It refuses to start on a port that is taken.
        output = run(tmp_path, "up", "--port", str(taken.getsockname()[1]))

    assert output.count(WARNING) == 1


def test_doctor_shows_the_warning_once_and_does_not_call_it_a_fault(tmp_path: Path) -> None:
    output = run(tmp_path, "doctor", "--url", "http://127.0.0.1:1")

    assert output.count(WARNING) == 1
    assert f"· {' ' * 11}{WARNING}" in output


def test_a_part_that_up_runs_leaves_the_warning_to_it(tmp_path: Path) -> None:
    output = start(tmp_path, "api", "--tied", "--port", "0")

    assert WARNING not in output
