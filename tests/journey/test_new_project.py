"""The project of `headrace new` works: its own test, a test on real servers, and a worker that runs it."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from headrace.cli.new_project import write_project
from headrace.settings import Settings
from support.harness import serving, working

SERVICE_TEST = """
from headrace_client import JobSucceeded


def test_the_pipeline_runs_on_real_servers(headrace_service):
    job = headrace_service.submit("my_pipes", {"texts": ["a b", "c"]}, tags=["mine"])
    done = headrace_service.finish(job)
    assert (done.state, done.result, done.tags) == ("succeeded", 3, ["mine"]), done.error
    events = headrace_service.events(job)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert isinstance(events[-1], JobSucceeded)


def test_the_session_has_one_service(headrace_service):
    assert len(headrace_service.client.jobs().items) == 1
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project("my-pipes", tmp_path)
    return tmp_path / "my-pipes"


def run_tests(project: Path, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    return ran.stdout


def test_its_own_test_passes_without_a_warning(project: Path) -> None:
    assert "3 passed" in run_tests(project, "-W", "error")


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "--select", "E,F,I,B,UP,S102", "--isolated"),
        ("ruff", "format", "--check", "--isolated"),
        ("mypy", "--strict", "--cache-dir", "cache"),
    ],
    ids=" ".join,
)
def test_it_passes_the_usual_checks(project: Path, command: tuple[str, ...]) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", *command, "."],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_test_can_use_a_whole_service(project: Path) -> None:
    (project / "tests" / "test_service.py").write_text(SERVICE_TEST)
    assert "2 passed" in run_tests(project, "tests/test_service.py")


async def test_a_worker_runs_its_pipeline(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The worker imports the package into this process, in which no other test may find its name.
    write_project("water-wheel", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "water-wheel"))
    own = msgspec.structs.replace(settings, pipelines=("water_wheel.pipelines",))
    try:
        async with serving(own) as api, working(own):
            submitted = await api.submit("water_wheel", params={"texts": ["the water turns", "the wheel"]})
            done = await api.finish(submitted["id"])
            (report,) = (await api.http.get(f"/api/v1/jobs/{done['id']}/files")).json()["items"]
    finally:
        for name in ("water_wheel", "water_wheel.pipelines"):
            sys.modules.pop(name, None)

    assert (done["state"], done["result"]) == ("succeeded", 5), done["error"]
    assert report["name"] == "report.txt"
