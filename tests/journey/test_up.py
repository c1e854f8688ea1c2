"""`headrace up` starts all its parts, keeps them running, and stops them."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from journey.starting import (
    Up,
    call,
    command_of,
    in_session,
    over_folder,
    running,
    temporary_folder,
    until_gone,
    up,
)

FLOWS = Path(__file__).parent / "flows" / "sample_flows.py"
LONG = '{"count": 40, "interval_ms": 100}'
LONGER = '{"count": 150, "interval_ms": 100}'


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder() as path:
        yield path
        assert over_folder(path) == []


@pytest.fixture(scope="module")
def service() -> Iterator[Up]:
    with temporary_folder() as path, up(path, "--workers", "1", HEADRACE_LEASE_SECONDS="2") as ready:
        yield ready


def test_a_job_runs_as_soon_as_up_reports_that_it_is_ready(service: Up) -> None:
    result = service.call("submit", "noop", "--watch")

    assert result.returncode == 0, result.stderr


def test_each_part_is_a_separate_process_in_the_session_of_up(service: Up) -> None:
    session = service.command.process.pid
    api, worker = service.part("api"), service.part("worker")

    assert len({session, api, worker}) == 3
    assert os.getsid(api) == os.getsid(worker) == session
    assert os.getpgid(worker) != os.getpgid(session)


def test_each_part_writes_its_own_log_file(service: Up) -> None:
    assert "worker_ready" in (service.folder / "logs" / "worker-1.log").read_text()
    assert (service.folder / "logs" / "api.log").exists()


def test_other_accounts_can_read_nothing_that_up_stores(service: Up) -> None:
    service.call("submit", "noop", "--watch")

    paths = [path for path in service.folder.rglob("*") if path.exists() and not path.is_symlink()]

    assert len(paths) > 10
    assert [path for path in paths if path.stat().st_mode & 0o077] == []


def test_no_command_line_holds_a_password(service: Up) -> None:
    passwords = [path.read_text().strip() for path in service.folder.rglob("password")]
    commands = [command_of(pid) for pid in in_session(service.command.process.pid)]
    commands += [command_of(service.server(name)) for name in ("postgres", "redis")]

    assert len(passwords) == 2
    assert len(commands) > 4
    assert [command for command in commands if any(password in command for password in passwords)] == []


def test_a_killed_worker_is_restarted_and_its_job_succeeds(service: Up) -> None:
    job = service.submit("ticks", "--params", LONGER)
    with running("watch", job, "--json", HEADRACE_URL=service.url) as watching:
        watching.line('"step.started"')

        # The job still runs, also on a machine that shows its start some seconds late.
        os.kill(service.part("worker"), signal.SIGKILL)

        assert "killed by SIGKILL" in service.command.line("worker 1")
        assert watching.wait() == 0
        assert any('"attempt.lost"' in line for line in watching.rest())


def test_a_killed_api_is_restarted_and_a_watch_continues(service: Up) -> None:
    job = service.submit("ticks", "--params", LONG)
    with running("watch", job, HEADRACE_URL=service.url) as watching:
        watching.line("started")

        os.kill(service.part("api"), signal.SIGKILL)

        assert "killed by SIGKILL" in service.command.line("api ")
        assert watching.wait() == 0


@pytest.mark.parametrize(("server", "label"), [("postgres", "PostgreSQL"), ("redis", "Redis")])
def test_a_killed_embedded_server_is_restarted_and_the_job_succeeds(
    service: Up, server: str, label: str
) -> None:
    job = service.submit("ticks", "--params", LONG)
    with running("watch", job, HEADRACE_URL=service.url) as watching:
        watching.line("started")

        os.kill(service.server(server), signal.SIGKILL)

        # The worker reports the outage as well, in lines of its own.
        assert label in service.command.line(" ended")
        assert label in service.command.line("answers again")
        assert watching.wait() == 0, watching.errors()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_parts_cleanly(folder: Path, number: signal.Signals) -> None:
    with up(folder, "--workers", "2") as ready:
        session = ready.command.process.pid

        # A terminal also sends the signal to the whole foreground group.
        os.killpg(session, number)

        assert ready.command.wait() == 0
        assert ready.command.rest()[-1] == "stopped"
        assert ready.command.errors() == ""
        assert in_session(session) == []
        assert over_folder(folder) == []


@pytest.mark.slow
def test_a_running_job_is_handed_back_and_continues_at_the_next_start(folder: Path, tmp_path: Path) -> None:
    # Only its second attempt ends by itself.
    params = json.dumps({"ledger": str(tmp_path / "ledger"), "hold_seconds": 600})
    with up(folder, HEADRACE_GRACE_SECONDS="0", HEADRACE_PIPELINES=str(FLOWS)) as first:
        job = first.submit("counting", "--params", params)
        with running("watch", job, "--json", HEADRACE_URL=first.url) as watching:
            while '"hold"' not in watching.line('"step.started"'):
                pass
        first.command.process.terminate()
        assert first.command.wait() == 0

    with up(folder, HEADRACE_PIPELINES=str(FLOWS)) as second:
        result = second.call("watch", job, "--json")

    assert result.returncode == 0
    assert '"handed_back"' in result.stdout
    assert '"attempt.lost"' not in result.stdout


def test_a_second_interrupt_does_not_wait_for_jobs(folder: Path) -> None:
    with up(folder, HEADRACE_GRACE_SECONDS="300", HEADRACE_STOP_SECONDS="300") as ready:
        job = ready.submit("ticks", "--params", '{"count": 10000, "interval_ms": 100}')
        with running("watch", job, "--json", HEADRACE_URL=ready.url) as watching:
            watching.line('"progress"')
        ready.command.process.send_signal(signal.SIGINT)
        ready.command.line("stopping")

        ready.command.process.send_signal(signal.SIGINT)

        ready.command.line("interrupted twice")
        assert ready.command.wait() == 0


@pytest.mark.slow
def test_the_parts_of_a_killed_up_end_and_its_servers_are_adopted(folder: Path) -> None:
    with up(folder) as killed:
        port = killed.url.rpartition(":")[2]
        killed.command.process.kill()
        with up(folder, "--port", port) as next_one:
            result = next_one.call("submit", "noop", "--watch")

            assert result.returncode == 0, result.stderr
            until_gone(killed.command.process.pid)


def test_up_stops_with_the_reason_of_a_worker_that_cannot_start(folder: Path) -> None:
    result = call("up", "--port", "0", "--data-dir", str(folder), HEADRACE_PIPELINES="/nowhere/at_all.py")

    assert result.returncode == 1
    assert result.stderr.startswith("headrace: HEADRACE_PIPELINES: '/nowhere/at_all.py' is neither")
    assert result.stderr.count("\n") == 1


def test_a_taken_port_is_reported_in_one_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        result = call("up", "--port", port, "--data-dir", str(folder))

    assert result.returncode == 1
    assert result.stderr == (
        f"headrace: cannot listen on 127.0.0.1 port {port}: it is in use; choose another port with --port\n"
    )


def test_a_second_up_over_the_same_folder_is_refused(service: Up) -> None:
    result = call("up", "--port", "0", "--data-dir", str(service.folder))

    assert result.returncode == 1
    assert f"process {service.command.process.pid}" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_invalid_setting_is_named_in_one_line(folder: Path) -> None:
    result = call("up", "--data-dir", str(folder), HEADRACE_LEASE_SECONDS="soon")

    assert result.returncode == 1
    assert result.stderr.startswith("headrace: HEADRACE_LEASE_SECONDS: ")
    assert result.stderr.count("\n") == 1


def test_a_network_address_is_refused_in_local_mode(folder: Path) -> None:
    result = call("up", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(folder))  # noqa: S104

    assert result.returncode == 1
    assert result.stderr.startswith("headrace: HEADRACE_AUTH=local lets everybody in, so 0.0.0.0 is refused")


@pytest.mark.slow
def test_reload_restarts_the_parts_with_the_changed_module(folder: Path, tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    source = (
        "from msgspec import Struct\nfrom headrace import Pipeline, StepContext, step\n"
        "class Nothing(Struct): pass\n"
        "@step\nasync def rest(context: StepContext[Nothing]) -> None: ...\n"
        "NAME = Pipeline('NAME', version=1, params=Nothing)\nNAME.add(rest)\n"
    )
    module.write_text(source.replace("NAME", "first"))
    with up(folder, "--reload", HEADRACE_PIPELINES=str(module)) as ready:
        assert ready.call("submit", "first", "--watch").returncode == 0
        log = folder / "logs" / "worker-1.log"

        module.write_text(source.replace("NAME", "second"))

        assert "mine.py changed" in ready.command.line("reload")
        assert "ready again; pipelines: " in (served := ready.command.line("reload"))
        assert "second" in served
        assert log.read_text().count("worker_ready") == 2
        assert ready.call("submit", "second", "--watch").returncode == 0

        module.write_text("undefined_name")

        assert "mine.py changed" in ready.command.line("reload")
        assert ready.command.line("correct it and save the file").startswith(
            f"reload    {module}:1: NameError: name 'undefined_name' is not defined; "
        )
