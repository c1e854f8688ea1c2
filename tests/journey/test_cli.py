"""The client commands against a real service: their output and their exit status."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import pytest
from click.testing import CliRunner

from headrace.cli.main import cli
from journey.starting import Up, call, over_folder, running, temporary_folder, up

SLOW = '{"count": 15, "interval_ms": 100, "steps": 2}'
UNUSED_URL = "http://127.0.0.1:9"
PARTS = ("api", "worker", "migrate")


@pytest.fixture(scope="module")
def service() -> Iterator[Up]:
    with temporary_folder() as path, up(path) as ready:
        yield ready


def numbers(lines: list[str]) -> list[int]:
    """Return the numbers of the events among the frames."""
    frames: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [frame["seq"] for frame in frames if "seq" in frame]


def test_watch_prints_one_frame_per_line(service: Up) -> None:
    job = service.submit("ticks", "--params", SLOW)

    result = service.call("watch", job, "--json")

    frames = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0
    assert result.stderr == ""
    assert frames[0]["type"] == "hello"
    assert frames[-1] == {"type": "end", "state": "succeeded"}
    assert numbers(result.stdout.splitlines()) == list(range(1, frames[-2]["seq"] + 1))


def test_a_killed_watch_resumes_without_gaps_or_repeats(service: Up) -> None:
    job = service.submit("ticks", "--params", SLOW)
    seen: list[int] = []
    for last in ("step.started", "progress"):
        after = str(max(seen, default=0))
        with running("watch", job, "--json", "--after", after, HEADRACE_URL=service.url) as watching:
            lines = watching.lines_before(last)
            watching.process.kill()
        seen += numbers(lines)

    rest = service.call("watch", job, "--json", "--after", str(max(seen)))

    seen += numbers(rest.stdout.splitlines())
    assert rest.returncode == 0
    assert seen == list(range(1, len(seen) + 1))


def test_ctrl_c_ends_only_the_watch_and_prints_how_to_resume_it(service: Up) -> None:
    job = service.submit("ticks", "--params", SLOW)
    with running("watch", job, HEADRACE_URL=service.url) as watching:
        watching.line("started")

        watching.process.send_signal(signal.SIGINT)

        assert watching.wait() == 130
        assert f"headrace watch {job} --after " in watching.errors()
    assert service.call("watch", job).returncode == 0


def test_a_closed_output_pipe_causes_no_traceback(service: Up) -> None:
    job = service.submit("ticks")

    result = subprocess.run(
        ["sh", "-c", f"{service.program} watch {job} --json --url {service.url} | head -n 1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.stdout.count("\n") == 1
    assert result.stderr == ""


def test_the_exit_status_reflects_the_outcome_of_the_job(service: Up) -> None:
    succeeded = service.call("submit", "noop", "--watch")
    failed = service.call("submit", "flaky", "--params", '{"fail_times": 100}', "--watch")
    waiting = service.submit("ticks", "--params", '{"count": 1000}')
    with running("watch", waiting, HEADRACE_URL=service.url) as watching:
        watching.line("started")
        cancelled = service.call("cancel", waiting)

        assert watching.wait() == 2
    assert (succeeded.returncode, failed.returncode, cancelled.returncode) == (0, 1, 0)
    assert "step_failed in fail_first: failing on purpose" in failed.stdout


def test_retry_runs_a_failed_job_again(service: Up) -> None:
    job = service.submit("flaky", "--params", '{"fail_times": 5}')
    first = service.call("watch", job)

    retried = service.call("retry", job)

    assert first.returncode == 1
    assert retried.returncode == 0
    assert service.call("watch", job).returncode == 0


def test_plain_output_shows_the_steps_and_the_result(service: Up) -> None:
    result = service.call("submit", "ticks", "--params", '{"count": 2}', "--watch")

    lines = [line[9:] for line in result.stdout.splitlines()]
    assert "→ tick[0] started" in lines
    assert "→ total succeeded" in lines
    assert result.stdout.endswith('the job succeeded\nresult  {"ticks":2}\n')


def test_submitting_with_the_same_key_returns_the_same_job(service: Up) -> None:
    key = uuid4().hex

    first = service.submit("noop", "--key", key)

    assert service.submit("noop", "--key", key) == first
    other = service.call("submit", "ticks", "--key", key)
    assert other.returncode == 1
    assert other.stderr.startswith("headrace: ")


def test_params_can_be_read_from_a_file(service: Up, tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    file.write_text('{"count": 3}')

    job = service.submit("ticks", "--params", f"@{file}")

    shown = json.loads(service.call("show", job, "--json").stdout)
    assert shown["params"] == {"count": 3}


def test_list_commands_show_jobs_pipelines_and_steps(service: Up) -> None:
    job = service.submit("ticks", "--params", '{"count": 1}')
    service.call("watch", job)

    jobs = service.call("jobs", "--state", "succeeded").stdout
    pipelines = service.call("pipelines").stdout
    shown = service.call("show", job).stdout

    assert [job, "ticks", "succeeded", "100%"] in [line.split()[:4] for line in jobs.splitlines()]
    rows = {tuple(line.split()[:3]) for line in pipelines.splitlines()}
    assert {("noop", "1", "yes"), ("ticks", "1", "yes"), ("name", "version", "served")} <= rows
    assert "tick[0]" in shown
    assert '{"ticks":1}' in shown


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["submit", "nope"], 1, "there is no pipeline 'nope'"),
        (["submit", "tiks"], 1, "there is no pipeline 'tiks' (did you mean 'ticks'?); list pipelines with"),
        (
            ["submit", "ticks", "--params", '{"cuont": 3}'],
            1,
            'there is no field "cuont"; did you mean "count"?',
        ),
        (["presets", "save", "few", "tiks"], 1, "there is no pipeline 'tiks' (did you mean 'ticks'?)"),
        (["pipelines", "--remove", "tiks"], 1, "there is no pipeline 'tiks' (did you mean 'ticks'?)"),
        (["submit", "nope", "--watch"], 3, "there is no pipeline 'nope'"),
        (["submit", "ticks", "--params", '{"count": "many"}'], 1, '$.params.count: "many" is not of type'),
        (["submit", "ticks", "--params", "{"], 2, "it is not JSON: input data was truncated"),
        (["submit", "ticks", "--params", "[1]"], 2, "it is not a JSON object"),
        (["submit", "ticks", "--params", "@/no/such", "--watch"], 3, "cannot read /no/such: no such file"),
        (["show", str(uuid4())], 1, "there is no job "),
        (["cancel", str(uuid4())], 1, "there is no job "),
        (["retry", str(uuid4())], 1, "there is no job "),
        (["pipelines", "--remove", "noop"], 1, "pipeline noop@1 is in use: the live worker "),
        (["pipelines", "--remove", "nope@3"], 1, "there is no pipeline 'nope' version 3"),
        (["pipelines", "--remove", "noop@one"], 2, "'noop@one' is not NAME or NAME@VERSION"),
        (["watch", str(uuid4())], 3, "there is no job "),
        (["watch", "fred"], 3, "'fred' is not the id of a job"),
        (["show", "fred"], 2, "'fred' is not the id of a job"),
        (["watch"], 3, "missing argument 'JOB'; see: headrace watch --help"),
        (["jobs", "--state", "asleep"], 2, "'asleep' is not one of 'queued', 'running'"),
        (["swim"], 2, "no such command 'swim'"),
        (["jobs", "--url", UNUSED_URL], 1, f"no service at {UNUSED_URL}; start one with: headrace up"),
        (
            ["watch", str(uuid4()), "--url", UNUSED_URL],
            3,
            f"no service at {UNUSED_URL}; start one with: headrace up",
        ),
        (["jobs", "--url", "moon"], 1, "'moon' is not the URL of a service"),
    ],
)
def test_refusals_are_printed_on_standard_error(
    service: Up, arguments: list[str], status: int, message: str
) -> None:
    result = service.call(*arguments)

    first, *faults = result.stderr.splitlines()
    assert result.returncode == status
    assert result.stdout == ""
    assert first.startswith("headrace: ")
    assert message in result.stderr
    assert all(fault.startswith("  $") for fault in faults)


def test_watch_refuses_a_cursor_beyond_the_newest_event(service: Up) -> None:
    job = service.submit("noop")
    service.call("watch", job)

    result = service.call("watch", job, "--after", "999")

    assert result.returncode == 3
    assert "999 is beyond the newest event" in result.stderr


def commands(group: click.Group = cli, prefix: str = "") -> list[str]:
    """Return every command with the groups before it."""
    names = []
    for name, command in group.commands.items():
        names.append(f"{prefix}{name}")
        if isinstance(command, click.Group):
            names += commands(command, f"{prefix}{name} ")
    return names


@pytest.mark.parametrize("command", ["", *commands()])
def test_help_shows_the_usage_and_an_example(command: str) -> None:
    result = CliRunner().invoke(cli, [*command.split(), "--help"], prog_name="headrace")

    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: headrace {command}".strip())
    assert "Example" in result.output or not command
    assert "--alone" not in result.output


@pytest.mark.parametrize("command", commands())
def test_every_command_that_prints_data_can_print_json(command: str) -> None:
    no_data = {"up", "demo", "doctor", "api", "worker", "completion", "download", "delete"}
    # The key alone, for a variable of a script.
    no_data |= {"new", "admin", "admin create-key"}
    is_silent = command in no_data or command.endswith((" delete", " rename"))

    assert ("--json" in CliRunner().invoke(cli, [*command.split(), "--help"]).output) == (not is_silent)


def test_the_installed_command_prints_its_help_in_sections() -> None:
    result = call("--help")

    sections = ["Start:", "Jobs:", "Changes to jobs:", "Files:", "Pipelines, presets and tags:", "Access:"]
    places = [result.stdout.index(f"\n{section}\n") for section in sections]
    assert result.returncode == 0
    assert places == sorted(places)


def test_doctor_reports_a_running_service_as_healthy(service: Up) -> None:
    result = service.call("doctor", "--data-dir", str(service.folder))

    assert result.returncode == 0, result.stdout
    assert f"{service.url} is ok" in result.stdout
    assert "PostgreSQL" in result.stdout


def test_doctor_works_with_ascii_only_output(service: Up) -> None:
    result = call("doctor", HEADRACE_URL=service.url, PYTHONIOENCODING="ascii")

    assert (result.returncode, result.stderr) == (0, "")
    assert "everything is fine" in result.stdout


def test_doctor_reports_every_problem(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_of_this_name\n")

    result = call(
        "doctor",
        HEADRACE_PIPELINES=str(broken),
        HEADRACE_DATABASE_URL="postgresql://me@127.0.0.1:9/headrace",
        HEADRACE_REDIS_URL="redis://127.0.0.1:9",
        HEADRACE_URL=UNUSED_URL,
    )

    wrong = [line for line in result.stdout.splitlines() if line.startswith("✗")]
    assert result.returncode == 1
    assert len(wrong) == 3
    assert "No module named 'nothing_of_this_name'" in result.stdout
    assert "HEADRACE_DATABASE_URL does not answer" in result.stdout


def test_doctor_loads_each_source_of_process_steps_in_a_process(tmp_path: Path) -> None:
    """The modules can be loaded in one process only."""
    flow = (
        "import pathlib\nfrom msgspec import Struct\nfrom headrace import Pipeline, StepContext, step\n"
        "pathlib.Path(__file__).with_suffix('.lock').touch(exist_ok=False)\n"
        "class Params(Struct):\n    pass\n"
        "@step(runs_in={runs_in!r})\ndef work(context: StepContext[Params]) -> None: ...\n"
        "{name} = Pipeline({name!r}, params=Params)\n{name}.add(work)\n"
    )
    sources = {name: tmp_path / f"{name}_flow.py" for name in ("first", "second", "threaded")}
    for name, source in sources.items():
        runs_in = "thread" if name == "threaded" else "process"
        source.write_text(flow.format(name=name, runs_in=runs_in))
    pipelines = ",".join(map(str, sources.values()))

    result = call("doctor", HEADRACE_PIPELINES=pipelines, HEADRACE_URL=UNUSED_URL, COLUMNS="1000")

    wrong = [line for line in result.stdout.splitlines() if "does not load in a process" in line]
    assert result.returncode == 1
    assert len(wrong) == 2
    for name, line in zip(("first", "second"), wrong, strict=True):
        assert str(sources[name]) in line
        assert "FileExistsError" in line


def test_doctor_names_an_invalid_setting() -> None:
    result = call("doctor", HEADRACE_LEASE_SECONDS="soon", HEADRACE_URL=UNUSED_URL)

    assert result.returncode == 1
    assert "HEADRACE_LEASE_SECONDS" in result.stdout


@pytest.mark.slow
def test_the_parts_refuse_a_missing_database_url_and_a_public_address(service: Up) -> None:
    missing = {name: call(name) for name in PARTS}
    remote = call("api", "--host", "0.0.0.0", HEADRACE_DATABASE_URL="postgresql://me@127.0.0.1:9/x")  # noqa: S104

    for name, result in missing.items():
        assert result.returncode != 0
        assert result.stderr.endswith("HEADRACE_DATABASE_URL is not set\n"), name
    assert remote.returncode == 78
    assert "0.0.0.0 is refused" in remote.stderr


def test_an_api_with_a_sample_secret_does_not_start_in_production() -> None:
    result = call(
        "api",
        HEADRACE_ENV="production",
        HEADRACE_AUTH="proxy",
        HEADRACE_TRUSTED_PROXIES="127.0.0.1",
        HEADRACE_SECRET_KEY="change-me",
        HEADRACE_DATABASE_URL="postgresql://me@127.0.0.1:9/x",
    )

    assert result.returncode != 0
    assert result.stderr.endswith("HEADRACE_SECRET_KEY is missing or still the sample value\n")


@pytest.mark.slow
def test_the_demo_writes_its_results_and_leaves_nothing_running(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    out = tmp_path / "results"
    with temporary_folder() as folder:
        result = call("demo", "--data-dir", str(folder), "--out", str(out), timeout=300)

        assert result.returncode == 0, result.stderr
        assert (out / "shootout.html").stat().st_size > 100_000
        assert len(list(out.glob("*.flac"))) == 4
        assert str(out / "shootout.html") in result.stdout
        assert over_folder(folder) == []


def test_an_api_starts_without_postgresql_and_exits_cleanly_on_sigterm(tmp_path: Path) -> None:
    with running(
        "api",
        "--port",
        "0",
        HEADRACE_DATABASE_URL="postgresql://me@127.0.0.1:9/x",
        HEADRACE_DATA_DIR=str(tmp_path),
    ) as api:
        api.error_line("api_ready")

        api.process.terminate()

        assert api.wait() == 0
