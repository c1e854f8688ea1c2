"""An API and a worker that serve their metrics, and what a scraper reads there."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
from msgspec import Struct
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from headrace.settings import Settings
from headrace.workers.monitoring.interface import Instruments
from headrace.workers.monitoring.service import WorkerMonitoring
from support.harness import TLS, Api, serving, working
from support.patience import PATIENCE_SECONDS, until


class MonitoredService(Struct):
    """The processes of a service: each has its metrics at /metrics."""

    api: Api
    worker: httpx.AsyncClient

    async def scrape(self) -> dict[str, str]:
        """Return the metrics of `api` and `worker`."""
        answers = {"api": await self.api.http.get("/metrics"), "worker": await self.worker.get("/metrics")}
        assert {answer.status_code for answer in answers.values()} == {200}
        return {name: answer.text for name, answer in answers.items()}


def families_of(text: str) -> dict[str, Metric]:
    """Return the series of a scrape, grouped by their name without `_total`, `_bucket` and the like."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def value_of(text: str, name: str, labels: Mapping[str, str] | None = None) -> float | None:
    """Return the value of one series; None if there is none."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == (labels or {}):
                return float(sample.value)
    return None


@asynccontextmanager
async def monitored_worker(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Run a worker that serves its metrics on a free port; yield a client of that."""
    monitoring = WorkerMonitoring(settings)
    async with working(settings, instruments=Instruments(monitoring)):
        await until(lambda: monitoring.port() is not None)
        url = f"http://127.0.0.1:{monitoring.port()}"
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS, verify=TLS) as client:
            yield client


@asynccontextmanager
async def monitored_service(settings: Settings) -> AsyncIterator[MonitoredService]:
    async with monitored_worker(settings) as worker, serving(settings) as api:
        yield MonitoredService(api, worker)


async def scrape_after_work(service: MonitoredService) -> dict[str, str]:
    """Have the service succeed, retry, fail and wait; return its metrics with the facts of PostgreSQL."""
    api = service.api
    for pipeline, more in (
        ("noop", {}),
        ("flaky", {"params": {"fail_times": 1}}),
        ("flaky", {"params": {"fail_times": 9}, "max_attempts": 1}),
    ):
        job = await api.submit(pipeline, **more)
        await api.watch(job["id"])
    await api.submit("noop", queue="nobody")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            texts = await service.scrape()
            if any('headrace_workers{queue="nobody"}' in text for text in texts.values()):
                return texts
            await asyncio.sleep(0.2)
