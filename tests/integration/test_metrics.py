"""/metrics of an API and of a worker that have done some work, and who may read them."""

from collections.abc import AsyncIterator

import pytest

from headrace.adapters.metrics import facts_exporter
from headrace.domain.base import METADATA
from headrace.domain.facts.repository import TABLES
from headrace.settings import Settings
from headrace.workers.monitoring import pages, server
from support.harness import serving
from support.monitored import (
    MonitoredService,
    families_of,
    monitored_service,
    monitored_worker,
    scrape_after_work,
    value_of,
)
from support.patience import PATIENCE_SECONDS, until_async
from support.users import Person, bearer, open_proxied

COMMON = {
    "headrace_batch_size",
    "headrace_loop_lag_seconds",
    "headrace_pool_in_use",
    "headrace_redis_up",
    "headrace_rings",
}
WORKER_SERIES = COMMON | {
    "headrace_hand_backs",
    "headrace_lease_losses",
    "headrace_start_latency_seconds",
    "headrace_step_seconds",
}
API_SERIES = COMMON | {
    "headrace_event_latency_seconds",
    "headrace_http_request_seconds",
    "headrace_http_requests",
    "headrace_stream_repairs",
}
FACTS = {
    "headrace_jobs",
    "headrace_postgres_connections",
    "headrace_postgres_max_connections",
    "headrace_queue_due",
    "headrace_queue_oldest_due_seconds",
    "headrace_table_bytes",
    "headrace_version_unserved",
    "headrace_waiting",
    "headrace_workers",
}


@pytest.fixture(scope="module")
async def monitored(module_settings: Settings) -> AsyncIterator[MonitoredService]:
    async with monitored_service(module_settings) as service:
        yield service


@pytest.fixture(scope="module")
async def scraped(monitored: MonitoredService) -> dict[str, str]:
    return await scrape_after_work(monitored)


def own_series(text: str) -> set[str]:
    return {name for name in families_of(text) if name.startswith("headrace_")}


def test_each_process_has_its_series_and_one_of_them_has_the_facts(scraped: dict[str, str]) -> None:
    series = {name: own_series(text) for name, text in scraped.items()}

    assert series["worker"] - FACTS == WORKER_SERIES
    assert series["api"] - FACTS == API_SERIES
    assert sorted([series["worker"] & FACTS, series["api"] & FACTS], key=len) == [set(), FACTS]


def test_every_series_is_explained(scraped: dict[str, str]) -> None:
    families = [family for text in scraped.values() for family in families_of(text).values()]

    assert [family.name for family in families if not family.documentation or family.type == "unknown"] == []


def test_the_facts_are_those_of_the_database(scraped: dict[str, str]) -> None:
    text = "".join(scraped.values())

    assert value_of(text, "headrace_jobs", {"state": "succeeded", "pipeline": "noop"}) == 1
    assert value_of(text, "headrace_jobs", {"state": "queued", "pipeline": "noop"}) == 1
    assert value_of(text, "headrace_jobs", {"state": "failed", "pipeline": "flaky"}) == 1
    assert value_of(text, "headrace_queue_due", {"queue": "nobody"}) == 1
    assert value_of(text, "headrace_queue_due", {"queue": "default"}) == 0
    assert value_of(text, "headrace_waiting", {"reason": "no_worker"}) == 1
    assert value_of(text, "headrace_version_unserved", {"pipeline": "noop", "version": "1"}) == 1
    assert value_of(text, "headrace_workers", {"queue": "default"}) == 1
    assert value_of(text, "headrace_workers", {"queue": "nobody"}) == 0
    assert (value_of(text, "headrace_postgres_connections") or 0) > 1


def test_every_table_of_the_service_is_measured(scraped: dict[str, str]) -> None:
    family = families_of("".join(scraped.values()))["headrace_table_bytes"]

    assert sorted(TABLES) == sorted(METADATA.tables)
    assert {sample.labels["table"] for sample in family.samples} == set(METADATA.tables)


def test_what_the_worker_did_is_counted(scraped: dict[str, str]) -> None:
    text = scraped["worker"]

    def count(outcome: str) -> float | None:
        steps = [
            sample
            for sample in families_of(text)["headrace_step_seconds"].samples
            if sample.name == "headrace_step_seconds_count" and sample.labels["outcome"] == outcome
        ]
        return sum(sample.value for sample in steps)

    assert (count("succeeded"), count("retried"), count("failed")) == (2, 1, 1)
    assert value_of(text, "headrace_start_latency_seconds_count") == 3
    assert (value_of(text, "headrace_batch_size_count") or 0) > 3


def test_requests_are_counted_by_route_and_status(scraped: dict[str, str]) -> None:
    labels = {"method": "POST", "route": "/api/v1/jobs", "status": "202"}

    assert value_of(scraped["api"], "headrace_http_requests_total", labels) == 4


async def test_the_latency_of_events_is_measured(monitored: MonitoredService) -> None:
    async def is_measured() -> bool:
        job = await monitored.api.submit("ticks", params={"count": 2, "interval_ms": 20, "steps": 1})
        await monitored.api.watch(job["id"])
        text = (await monitored.scrape())["api"]
        return (value_of(text, "headrace_event_latency_seconds_count") or 0) > 0

    await until_async(is_measured)


async def test_unknown_paths_share_a_series(monitored: MonitoredService) -> None:
    for number in range(3):
        await monitored.api.http.get(f"/nowhere/{number}")

    text = (await monitored.scrape())["api"]

    labels = {"method": "GET", "route": "unmatched", "status": "404"}
    assert value_of(text, "headrace_http_requests_total", labels) == 3
    assert "nowhere" not in text


async def test_the_probes_of_the_worker_answer(monitored: MonitoredService) -> None:
    live, ready = [await monitored.worker.get(f"/health/{probe}") for probe in ("live", "ready")]

    assert (live.status_code, live.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})


async def test_metrics_are_for_admins_and_for_keys_of_admins_with_that_scope(settings: Settings) -> None:
    async with open_proxied(settings) as api:
        root, user = Person(api, "root"), Person(api, "somebody")
        key = await root.key("metrics:read")
        answers = {
            "nobody": await api.http.get("/metrics"),
            "user": await api.http.get("/metrics", headers=user.headers),
            "admin's other key": await api.http.get(
                "/metrics", headers=bearer((await root.key("jobs:read"))["key"])
            ),
            "admin": await api.http.get("/metrics", headers=root.headers),
            "admin's key": await api.http.get("/metrics", headers=bearer(key["key"])),
        }
        jobs = await api.http.get("/api/v1/jobs", headers=bearer(key["key"]))
        of_user = await user.ask("POST", "/api-keys", json={"name": "x", "scopes": ["metrics:read"]})

    assert {who: answer.status_code for who, answer in answers.items()} == {
        "nobody": 401,
        "user": 403,
        "admin's other key": 403,
        "admin": 200,
        "admin's key": 200,
    }
    assert (jobs.status_code, of_user.status_code) == (403, 403)
    assert answers["admin"].headers["content-type"].startswith("text/plain; version=0.0.4")


@pytest.fixture
def patient_scrapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let first scrapes wait longer for their facts, on a slow machine."""
    for module, name in (
        (facts_exporter, "FIRST_SCRAPE_SECONDS"),
        (pages, "FIRST_SCRAPE_SECONDS"),
        (server, "_REQUEST_SECONDS"),
    ):
        monkeypatch.setattr(module, name, PATIENCE_SECONDS)


@pytest.mark.usefixtures("patient_scrapes")
async def test_the_first_scrape_of_a_new_api_has_the_facts(settings: Settings) -> None:
    async with serving(settings) as api:
        first = (await api.http.get("/metrics")).text

    assert own_series(first) >= {"headrace_table_bytes", "headrace_postgres_connections"}


@pytest.mark.usefixtures("patient_scrapes")
async def test_the_first_scrape_of_a_new_worker_has_the_facts(settings: Settings) -> None:
    async with monitored_worker(settings) as worker:
        first = (await worker.get("/metrics")).text

    assert own_series(first) >= {"headrace_table_bytes", "headrace_workers"}
