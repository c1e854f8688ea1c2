"""The commands that list, change and follow, against a real service."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from journey.starting import Up, call, running, temporary_folder, up


@pytest.fixture(scope="module")
def service() -> Iterator[Up]:
    with temporary_folder() as path, up(path) as ready:
        yield ready


def shown(service: Up, *arguments: str) -> Any:
    """Return what a command prints with `--json`."""
    result = service.call(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def done(service: Up, *arguments: str) -> str:
    """Return the line that a command prints."""
    result = service.call(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.rstrip("\n")


def test_a_job_is_submitted_with_every_option(service: Up) -> None:
    tag = uuid4().hex
    job = service.submit(
        "noop",
        *(
            "--queue",
            "night",
            "--priority",
            "9",
            "--run-at",
            "2100-01-01T00:00:00Z",
            "--tag",
            tag,
            "--tag",
            "b",
        ),
        *("--timeout", "60", "--version", "1", "--max-attempts", "2", "--meta", '{"a": 1}'),
    )

    details = shown(service, "show", job)

    assert details["tags"] == sorted([tag, "b"])
    assert (details["queue"], details["priority"], details["version"]) == ("night", 9, 1)
    assert (details["timeout_seconds"], details["max_attempts"], details["meta"]) == (60.0, 2, {"a": 1})
    assert details["run_at"].startswith("2100-01-01")
    lists = (
        ["--tag", tag],
        ["--queue", "night", "--tag", tag],
        ["--search", job],
        ["--state", "queued", "--tag", tag],
    )
    assert [[item["id"] for item in shown(service, "jobs", *filters)] for filters in lists] == [[job]] * 4
    assert shown(service, "jobs", "--tag", tag, "--offset", "1") == []
    assert service.call("jobs", "--tag", tag, "--state", "failed").stderr == "no jobs match\n"
    assert done(service, "cancel", job) == "cancelled"
    assert shown(service, "change", job, "--tag", "c", "--meta", '{"a": null}')["tags"] == ["c"]
    assert done(service, "delete", job) == f"deleted {job}"
    assert service.call("show", job).stderr.endswith("list jobs with: headrace jobs\n")


def test_a_job_that_an_idle_worker_is_about_to_start_waits_for_nothing(service: Up) -> None:
    assert shown(service, "submit", "noop")["waiting_for"] is None


def test_a_batch_prints_the_ids_of_its_jobs(service: Up) -> None:
    jobs = done(service, "batch", '{"jobs": [{"pipeline": "noop"}, {"pipeline": "noop"}]}').split()

    assert [shown(service, "show", job)["pipeline"] for job in jobs] == ["noop", "noop"]
    assert service.call("batch", '{"jobs": [{"pipeline": "nope"}]}').returncode == 1


def test_a_delayed_job_says_why_it_waits(service: Up) -> None:
    job = service.submit("noop", "--run-at", "2100-01-01T00:00:00Z")

    with running("watch", job, HEADRACE_URL=service.url) as watching:
        line = watching.line()
        service.call("cancel", job)
        assert watching.wait() == 2

    assert line.endswith("→ queued: its start time has not come")


def test_no_progress_is_printed_before_older_events_and_show_is_as_new_as_the_stream(service: Up) -> None:
    job = service.submit("ticks", "--params", '{"count": 1500, "interval_ms": 20}')
    with running("watch", job, HEADRACE_URL=service.url) as first:
        percent = int(first.line("% done").split()[-2].removesuffix("%"))
        details = shown(service, "show", job)
        steps = shown(service, "steps", job)
        with running("watch", job, HEADRACE_URL=service.url) as late:
            lines = late.lines_before("% done")
        service.call("cancel", job)
        first.wait()

    assert details["progress"] >= percent / 100 - 0.005
    assert steps[0]["progress"] >= percent / 100 - 0.005
    assert [line[9:] for line in lines] == ["→ job started", "→ tick[0] started"]


def test_events_and_logs_are_printed(service: Up) -> None:
    job = service.submit("ticks", "--params", '{"count": 2}')
    with running("logs", job, "--follow", HEADRACE_URL=service.url) as following:
        assert following.wait() == 0
    done(service, "watch", job)

    events = [json.loads(line) for line in done(service, "events", job, "--json").splitlines()]
    rest = [
        json.loads(line)["seq"]
        for line in done(service, "events", job, "--after", "2", "--limit", "2", "--json").split("\n")
    ]
    logs = [json.loads(line) for line in done(service, "logs", job, "--json").splitlines()]

    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert rest == [3, 4]
    assert logs == [event for event in events if event["type"] == "log"]
    assert done(service, "events", job).splitlines()[0].split()[::2] == ["1", "job.queued"]


def test_files_are_uploaded_listed_downloaded_and_deleted(service: Up, tmp_path: Path) -> None:
    path = tmp_path / f"{uuid4().hex}.txt"
    path.write_text("words")
    file = done(service, "upload", str(path))

    listed = shown(service, "files", "--search", path.name)
    out = tmp_path / "other.txt"
    done(service, "download", file, "--out", str(out))
    refused = service.call("download", file, "--out", str(out))
    replaced = service.call("download", file, "--out", str(out), "--force")
    done(service, "delete", "--file", file)

    assert [item["id"] for item in listed] == [file]
    assert out.read_text() == "words"
    assert refused.stderr.endswith("exists; replace it with --force, or choose another place with --out\n")
    assert (refused.returncode, replaced.returncode) == (1, 0)
    assert "list files with: headrace files" in service.call("download", file).stderr


def test_presets_tags_keys_and_tokens(service: Up) -> None:
    title = uuid4().hex
    preset = done(service, "presets", "save", title, "ticks", "--params", '{"count": 1}', "--tag", title)

    job = done(service, "presets", "submit", preset, "--priority", "7")
    tags = {tag["name"]: tag["id"] for tag in shown(service, "tags")}
    done(service, "tags", "rename", tags[title], f"{title}2")
    key = shown(service, "keys", "create", "laptop", "--scope", "jobs:read", "--expires", "1d")
    token = done(service, "token", job)

    assert shown(service, "show", job)["preset_id"] == preset
    assert [item["tags"] for item in shown(service, "presets", "--search", title)] == [[f"{title}2"]]
    assert key["id"] in [item["id"] for item in shown(service, "keys")]
    assert call("show", job, HEADRACE_URL=service.url, HEADRACE_TOKEN=token).returncode == 0
    assert call("jobs", HEADRACE_URL=service.url, HEADRACE_TOKEN="hr_wrong").stderr.startswith("headrace: ")
    assert done(service, "keys", "delete", key["id"]) == f"revoked {key['id']}"
    assert done(service, "presets", "delete", preset) == f"deleted {preset}"
    assert done(service, "tags", "delete", tags[title]) == f"deleted {tags[title]}"
    assert shown(service, "me")["username"] == "dev"


def test_all_jobs_are_followed(service: Up) -> None:
    tag = uuid4().hex
    first = service.submit("noop", "--run-at", "2100-01-01T00:00:00Z", "--tag", tag)
    with running("jobs", "--follow", "--tag", tag, "--json", HEADRACE_URL=service.url) as following:
        before = json.loads(following.line(first))
        service.call("cancel", first)
        after = json.loads(following.line("cancelled"))
        following.process.terminate()

    assert (before["state"], after["state"], after["job_id"]) == ("queued", "cancelled", first)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_valid_and_completes_commands(shell: str) -> None:
    script = call("completion", shell)
    words = call(_HEADRACE_COMPLETE="bash_complete", COMP_WORDS="headrace pre", COMP_CWORD="1")

    assert script.returncode == 0
    if program := shutil.which(shell):
        checked = subprocess.run([program, "-n"], input=script.stdout, text=True, timeout=60, check=False)
        assert checked.returncode == 0
    assert words.stdout.split() == ["plain,presets"]


def test_status_queues_and_workers_show_what_runs(service: Up) -> None:
    job = service.submit("ticks", "--params", '{"count": 5000, "interval_ms": 20}')
    delayed = service.submit("noop", "--run-at", "2100-01-01T00:00:00Z", "--queue", "unserved")
    with running("watch", job, HEADRACE_URL=service.url) as watching:
        watching.line("% done")
        status = shown(service, "status", "--window", "5m")
        page = done(service, "status")
        queues, workers = shown(service, "queues"), shown(service, "workers")
        tables = [service.call("queues"), service.call("workers")]
        for each in (job, delayed):
            service.call("cancel", each)
        watching.wait()

    (unserved,) = [queue for queue in queues if queue["name"] == "unserved"]
    assert status["stats"]["window_seconds"] == 300
    assert job in [each["id"] for each in status["running"]]
    assert job in [each for worker in workers for each in worker["running"]]
    assert (unserved["queued"], unserved["workers"]) == (1, 0)
    for words in (" running", "unserved", " ticks", workers[0]["id"], "last failures"):
        assert words in page
    assert [table.returncode for table in tables] == [0, 0]
    assert "unserved" in tables[0].stdout
    assert workers[0]["id"] in tables[1].stdout
    assert "window is a time from 1m to 1d" in service.call("status", "--window", "2d").stderr
