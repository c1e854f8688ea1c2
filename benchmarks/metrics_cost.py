"""Measures what metrics cost a worker: pairs of drains with `HEADRACE_WORKER_PORT` on and off, in turns.

The metrics are scraped every 5 s, by which the worker becomes the exporter of PostgreSQL's facts. Processor
time is steadier than the rate on a machine that others use: see `drain`.
"""

import asyncio
import contextlib
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from common import BenchEnv, arguments, bench_environment, free_port, processes, report, until
from drain import drain

_FLOW: Final = Path(__file__).parent / "flows" / "lines.py"
_KNOWN: Final = "SELECT EXISTS (SELECT 1 FROM pipelines WHERE name = 'line')"
_SCRAPE_SECONDS: Final = 5.0
_FIGURES: Final = ("jobs/s", "worker CPU us a job", "PostgreSQL CPU us a job")


def main() -> None:
    options = arguments(__doc__, jobs=20_000, concurrency=400, pairs=4)
    runs: dict[str, list[dict[str, float]]] = {"on": [], "off": []}
    with bench_environment() as env:
        with processes(env, ["worker"], HEADRACE_PIPELINES=str(_FLOW)):
            asyncio.run(until(env.database_url, _KNOWN))
        measure(env, options.jobs, options.concurrency, "off")  # the first drain of a server is slower
        for number in range(options.pairs):
            # Each is first in turn, so that a machine that becomes slower favours neither.
            for case in ("on", "off") if number % 2 else ("off", "on"):
                runs[case].append(measure(env, options.jobs, options.concurrency, case))
    report(f"metrics cost, {options.jobs:,} jobs a drain", figures_of(runs), options.json)


def measure(env: BenchEnv, jobs: int, concurrency: int, case: str) -> dict[str, float]:
    """Drain once, with metrics that are scraped or without metrics."""
    port = free_port() if case == "on" else 0
    with scraping(port) if port else contextlib.nullcontext():
        return drain(env, jobs, 1, concurrency, "noop", options=("--port", str(port)))


@contextmanager
def scraping(port: int) -> Iterator[None]:
    """Scrape the metrics of a worker every 5 s for the block, from a thread."""
    is_over = threading.Event()

    def scrape() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            while not is_over.is_set():
                with contextlib.suppress(httpx.TransportError):
                    client.get("/metrics")
                is_over.wait(_SCRAPE_SECONDS)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def figures_of(runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return each figure of both cases, and by how many percent metrics change it in each pair."""
    figures: dict[str, Any] = {}
    for name in _FIGURES:
        for case, measured in runs.items():
            values = [run[name] for run in measured]
            figures[f"{name}, {case}"] = {"median": statistics.median(values), "runs": values}
        changes = [(on[name] / off[name] - 1) * 100 for on, off in zip(runs["on"], runs["off"], strict=True)]
        figures[f"{name}, change in %"] = {"median": statistics.median(changes), "runs": changes}
    return figures


if __name__ == "__main__":
    main()
