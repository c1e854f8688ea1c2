"""The page of `headrace status`, and the tables of queues and workers."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console, RenderableType

from headrace.cli.api_client import ApiClient
from headrace.cli.main import cli
from headrace.cli.status_page import StatusPage, queues_table, workers_table

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
STATS: dict[str, Any] = {
    "measured_seconds": 3600.0,
    "counts": {
        "queued": 3,
        "running": 2,
        "succeeded": 286_924,
        "failed": 17,
        "cancelled": 0,
        "succeeded_is_estimate": True,
    },
    "ended_jobs": 1_234,
    "finished_per_minute": 20.5,
    "failed_per_minute": 0.1,
    "start_latency_seconds": {"p50": 0.004, "p95": 0.2, "p99": 3.0},
    "duration_seconds": {"p50": 1.5, "p95": 75.0, "p99": 4_000.0},
}
QUEUES: list[dict[str, Any]] = [
    {"name": "default", "queued": 3, "oldest_due_at": "2030-01-01T11:59:00Z", "running": 2, "workers": 1},
    {
        "name": "mail",
        "queued": 20_000,
        "queued_is_estimate": True,
        "oldest_due_at": None,
        "running": 0,
        "workers": 0,
    },
]
WORKERS: list[dict[str, Any]] = [
    {
        "id": "host-1234-abcdef",
        "queues": ["default"],
        "concurrency": 50,
        "running": ["a", "b", "c"],
        "started_at": "2030-01-01T10:00:00Z",
        "last_seen_at": "2030-01-01T12:00:00Z",
    }
]
FAILED: list[dict[str, Any]] = [
    {
        "id": "01a1fcda-1222-71e3-b3dd-702451ba443d",
        "pipeline": "nightly",
        "finished_at": "2030-01-01T11:00:00Z",
        "error": {"code": "bad_input", "message": "no such site\x1b[31m", "step": "load"},
    }
]


def printed(shown: RenderableType, width: int = 80) -> str:
    output = StringIO()
    Console(file=output, width=width, highlight=False).print(shown)
    return output.getvalue()


def status(**changes: Any) -> StatusPage:
    page: dict[str, Any] = {
        "stats": STATS,
        "queues": QUEUES,
        "workers": WORKERS,
        "running": [{"id": "a", "pipeline": "noop"}, {"id": "b", "pipeline": "noop"}],
        "failed": FAILED,
        "is_failed_cut": False,
        "now": NOW,
    }
    return StatusPage(**{**page, **changes})


def test_the_page_names_counts_queues_workers_and_failures() -> None:
    text = printed(status().render("http://127.0.0.1:8000"), width=120)

    for words in (
        "3 queued · 2 running · ~286,924 succeeded · 17 failed · 0 cancelled",
        "last 1 h",
        "1,234 ended, 20.5 a minute · 0.1 failed a minute",
        "start after   p50 4 ms · p95 200 ms · p99 3.0 s",
        "took          p50 1.5 s · p95 1 min 15 s · p99 1 h 6 min",
        "1 min ago",
        "~20,000",
        "3/50",
        "2 noop, 1 other",
        "bad_input in load: no such site",
    ):
        assert words in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_page_fits_into_narrow_terminals_without_losing_anything(width: int) -> None:
    lines = printed(status().render("http://127.0.0.1:8000"), width).splitlines()

    assert max(map(len, lines)) <= width
    for word in ("~20,000", "3/50", FAILED[0]["id"], "last failures", "~286,924 succeeded"):
        assert any(word in line for line in lines)


def test_an_idle_service_is_told_in_words() -> None:
    idle = {"start_latency_seconds": None, "duration_seconds": None}
    page = status(stats={**STATS, **idle}, queues=[], workers=[], running=[], failed=[])
    text = printed(page.render("http://127.0.0.1:8000"))

    assert "no live workers; start one with: headrace worker" in text
    assert "no queues: no worker runs, and no job is queued" in text
    assert "took" not in text
    assert text.rstrip().endswith("none")
    assert "none of the newest jobs" in printed(status(failed=[], is_failed_cut=True).render("x"))


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ({"next": "a-cursor"}, "none of the newest jobs"),
        ({"searched_back_to": "2027-01-01T00:00:00Z"}, "none of the newest jobs"),
        ({}, "none"),
    ],
)
def test_failures_that_were_not_looked_for_are_not_denied(
    mark: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: dict[str, Any] = {
        "/stats": STATS,
        "/queues": {"items": QUEUES},
        "/workers": {"items": WORKERS},
        "/jobs": {"items": [], "total": 0, **mark},
    }
    monkeypatch.setattr(ApiClient, "get", lambda _client, path, **_params: pages[path])

    shown = CliRunner().invoke(cli, ["status"], catch_exceptions=False)

    assert shown.output.splitlines()[-1].strip() == words


def test_queues_without_a_worker_stand_out() -> None:
    table = queues_table(QUEUES, NOW)

    assert [str(cell.style) for cell in table.columns[4].cells] == ["", "yellow"]  # type: ignore[union-attr]


def test_a_worker_with_many_pipelines_names_the_most_frequent() -> None:
    jobs = {str(number): f"p{min(number, 6)}" for number in range(9)}
    text = printed(workers_table([{**WORKERS[0], "running": list(jobs)}], jobs, NOW), width=120)

    assert "3 p6, 1 p0, 1 p1, 1 p2, 1 p3, …" in text
