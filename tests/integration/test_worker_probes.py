"""The probes of a worker: at its start, while its loop is blocked, without PostgreSQL, and when it stops."""

import asyncio
import http.client
import signal
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import msgspec
import pytest
from structlog.testing import capture_logs

from faults.proxy import Mode, proxied
from headrace.settings import Settings
from headrace.workers import startup
from headrace.workers.monitoring import pages
from headrace.workers.monitoring.interface import Instruments
from headrace.workers.monitoring.service import WorkerMonitoring
from support.harness import working
from support.patience import PATIENCE_SECONDS, until

Answer = tuple[int, dict[str, Any]]
Result = TypeVar("Result")


def get(port: int, path: str) -> tuple[int, bytes]:
    """Ask a worker, and block this thread until it answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def from_thread(ask: Callable[[], Result]) -> Result:
    """Ask a worker that runs in the loop of this thread, which stands still meanwhile."""
    answers: list[Result] = []
    thread = threading.Thread(target=lambda: answers.append(ask()))
    thread.start()
    thread.join(PATIENCE_SECONDS)
    return answers[0]


def probe_from_thread(port: int, name: str) -> Answer:
    status, body = from_thread(lambda: get(port, f"/health/{name}"))
    return status, msgspec.json.decode(body)


async def port_of(monitoring: WorkerMonitoring) -> int:
    await until(lambda: monitoring.port() is not None)
    port = monitoring.port()
    assert port is not None
    return port


async def test_a_worker_whose_loop_is_blocked_is_not_live_until_it_runs_again(settings: Settings) -> None:
    monitoring = WorkerMonitoring(settings)
    async with working(settings, instruments=Instruments(monitoring)):
        port = await port_of(monitoring)
        before = probe_from_thread(port, "live")
        monitoring._lag._ticked_at -= 6.0  # as if the loop had been blocked since then
        blocked = [probe_from_thread(port, name) for name in ("live", "ready")]
        await until(lambda: monitoring._lag.silent_seconds < 5.0)
        after = probe_from_thread(port, "live")

    assert (before, after) == ((200, {"status": "ok"}), (200, {"status": "ok"}))
    for status, body in blocked:
        assert (status, body["status"]) == (503, "unavailable")
        assert body["reasons"][0].startswith("the event loop has not run for ")


async def test_without_postgresql_a_worker_stays_live_and_is_not_ready(settings: Settings) -> None:
    async with proxied(str(settings.database_url)) as (database, database_url):
        behind = msgspec.structs.replace(settings, database_url=database_url)
        monitoring = WorkerMonitoring(behind)
        async with working(behind, instruments=Instruments(monitoring)):
            port = await port_of(monitoring)
            await database.become(Mode.DROP)
            await until(lambda: probe_from_thread(port, "ready")[0] == 503)
            ready, live = probe_from_thread(port, "ready"), probe_from_thread(port, "live")
            await database.become(Mode.PASS)
            await until(lambda: probe_from_thread(port, "ready")[0] == 200)

    assert ready[1]["reasons"][0].startswith("postgresql")
    assert live == (200, {"status": "ok"})


async def test_a_worker_that_starts_without_postgresql_is_live_and_begins_when_it_is_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "_MAX_BOUNDED_TRIES", 1)
    monkeypatch.setattr(startup, "_REGISTER_PAUSE_SECONDS", 0.01)
    async with proxied(str(settings.database_url)) as (database, database_url), AsyncExitStack() as stack:
        behind = msgspec.structs.replace(settings, database_url=database_url)
        monitoring = WorkerMonitoring(behind)
        await database.become(Mode.DROP)
        with capture_logs() as lines:
            starting = asyncio.create_task(
                stack.enter_async_context(working(behind, instruments=Instruments(monitoring)))
            )
            port = await port_of(monitoring)
            await until(lambda: "waiting_for_postgresql" in [line["event"] for line in lines])
            live, ready = probe_from_thread(port, "live"), probe_from_thread(port, "ready")
            is_waiting = not starting.done()
            await database.become(Mode.PASS)
            await asyncio.wait_for(starting, PATIENCE_SECONDS)
        await until(lambda: probe_from_thread(port, "ready")[0] == 200)

    assert live == (200, {"status": "ok"})
    assert (ready[0], ready[1]["reasons"]) == (503, ["the worker is starting", "postgresql"])
    assert is_waiting


async def test_a_worker_whose_loop_is_blocked_at_the_first_scrape_shows_its_metrics(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "FIRST_SCRAPE_SECONDS", 0.01)
    monitoring = WorkerMonitoring(settings)
    async with working(settings, instruments=Instruments(monitoring)):
        port = await port_of(monitoring)
        blocked = from_thread(lambda: get(port, "/metrics"))

    assert blocked[0] == 200
    assert b"headrace_batch_size" in blocked[1]


async def test_a_worker_that_stops_is_not_ready_and_closes_its_port_in_the_end(settings: Settings) -> None:
    monitoring = WorkerMonitoring(settings)
    async with working(settings, instruments=Instruments(monitoring)) as running:
        port = await port_of(monitoring)
        running.worker.handle_sig(signal.SIGTERM)
        stopping = probe_from_thread(port, "ready")

    assert stopping == (503, {"status": "unavailable", "reasons": ["the worker stops"]})
    assert monitoring.port() is None
