"""Measures lists and numbers on tables of millions of jobs, through the REST API.

The table is filled by PostgreSQL itself: a user with three tenths of the jobs, one with two tenths and a
hundred others, with ended, queued, delayed and running jobs, tags, presets and files, and is vacuumed. Each
request is sent several times over one connection. A search or filter "without a hit" finds nothing.

    --jobs 10000000     needs about 10 GB of disk, and takes a quarter of an hour
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from hashlib import md5
from typing import Any, Final
from uuid import UUID

import httpx
import large_fill
from common import (
    BenchEnv,
    arguments,
    bench_environment,
    fetch,
    free_port,
    percentile,
    processes,
    ready,
    report,
)

_SECRET: Final = "the benchmark's and ours"  # noqa: S105  (of this benchmark only)
_USERS: Final = 102
_RUNNING: Final = 400
_REPEATS: Final = 30
_TIMEOUT: Final = 60.0

_PART: Final = 500_000
_MIN_JOBS: Final = 40_000

_ADA: Final = "ada"
_ADMIN: Final = "root"
_JOBS: Final = "/api/v1/jobs"
REQUESTS: Final = (
    (_ADA, f"{_JOBS}?limit=100"),
    (_ADA, f"{_JOBS}?state=failed&limit=100"),
    (_ADA, f"{_JOBS}?state=queued&state=running&limit=100"),
    (_ADA, f"{_JOBS}?pipeline=flaky&limit=100"),
    (_ADA, f"{_JOBS}?pipeline=nothing&limit=100"),
    (_ADA, f"{_JOBS}?queue=nothing&limit=100"),
    (_ADA, f"{_JOBS}?queue=mail&limit=100"),
    (_ADA, f"{_JOBS}?tag=common&limit=100"),
    (_ADA, f"{_JOBS}?tag=rare&limit=100"),
    (_ADA, f"{_JOBS}?preset={{common}}&limit=100"),
    (_ADA, f"{_JOBS}?preset={{rare}}&limit=100"),
    (_ADA, f"{_JOBS}?order_by=priority&limit=100"),
    (_ADA, f"{_JOBS}?order_by=-finished_at&limit=100"),
    (_ADA, f"{_JOBS}?order_by=created_at&limit=100"),
    (_ADA, f"{_JOBS}?search=nothing"),
    (_ADA, f"{_JOBS}?offset=10000&limit=100"),
    (_ADA, f"{_JOBS}?offset=1000000&limit=100"),
    (_ADA, f"{_JOBS}?limit=100&after={{cursor}}"),
    (_ADA, "/api/v1/files?limit=100"),
    (_ADA, "/api/v1/files?order_by=name&limit=100"),
    (_ADA, "/api/v1/files?search=nothing&limit=100"),
    (_ADA, "/api/v1/tags"),
    (_ADMIN, f"{_JOBS}?limit=100"),
    (_ADMIN, f"{_JOBS}?state=failed&limit=5"),
    (_ADMIN, f"{_JOBS}?state=cancelled&limit=5"),
    (_ADMIN, f"{_JOBS}?state=running&limit=100"),
    (_ADMIN, f"{_JOBS}?queue=nothing&limit=100"),
    (_ADMIN, f"{_JOBS}?order_by=-finished_at&limit=100"),
    (_ADMIN, f"{_JOBS}?search=nothing"),
    (_ADMIN, "/api/v1/files?limit=100"),
    (_ADMIN, "/api/v1/users?limit=100"),
    (_ADA, "/api/v1/stats?window=1h"),
    (_ADA, "/api/v1/stats?window=24h&pipeline=flaky"),
    (_ADMIN, "/api/v1/stats?window=1h"),
    (_ADMIN, "/api/v1/stats?window=24h"),
    (_ADMIN, "/api/v1/stats?window=24h&pipeline=flaky"),
    (_ADA, "/api/v1/queues"),
    (_ADMIN, "/api/v1/queues"),
    (_ADMIN, "/api/v1/queues/default/scaling?slots=50"),
    (_ADMIN, "/api/v1/queues/nothing/scaling"),
    (_ADA, "/api/v1/workers"),
    (_ADMIN, "/api/v1/workers"),
)


_SUMMARISED: Final = (
    *("total", "total_is_estimate", "searched_back_to", "ended_jobs", "measured_seconds", "counts", "due"),
    "code",
)


def _headers(user: str) -> dict[str, str]:
    return {"X-Headrace-Proxy-Secret": _SECRET, "X-Forwarded-Preferred-Username": user}


async def fill(database_url: str, jobs: int) -> None:
    """Insert *jobs* jobs and what belongs to them. Indexes are built afterwards, which is much faster."""
    indexes = await fetch(database_url, large_fill.INDEXES)
    for index in indexes:
        await fetch(database_url, f"DROP INDEX {index['name']}")
    await fetch(database_url, "DELETE FROM workers")
    await fetch(database_url, large_fill.USERS, _USERS)
    for statement in (large_fill.PRESETS, large_fill.TAGS, large_fill.WORKERS):
        await fetch(database_url, statement)
    for first in range(1, jobs + 1, _PART):
        last = min(first + _PART - 1, jobs)
        await fetch(database_url, large_fill.JOBS, jobs, _USERS, _RUNNING, first, last)
    await fetch(database_url, large_fill.LINKS)
    await fetch(database_url, large_fill.FILES, jobs)
    for index in indexes:
        await fetch(database_url, index["definition"])
    for table in ("jobs", "job_tags", "files", "users", "tags", "presets", "workers"):
        await fetch(database_url, f"VACUUM ANALYZE {table}")


@contextlib.contextmanager
def api(env: BenchEnv) -> Iterator[str]:
    """Run an API behind a proxy, whose header names the user of each request."""
    port = free_port()
    settings = {
        "HEADRACE_AUTH": "proxy",
        "HEADRACE_PROXY_SECRET": _SECRET,
        "HEADRACE_TRUSTED_PROXIES": "127.0.0.1",
        "HEADRACE_ADMINS": _ADMIN,
        "HEADRACE_SECRET_KEY": "x" * 40,
    }
    with processes(env, ["api", "--port", str(port)], **settings):
        yield f"http://127.0.0.1:{port}"


async def measure(url: str) -> dict[str, Any]:
    """Return for each request its times in milliseconds, and what its answer says about its size."""
    figures: dict[str, Any] = {}
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT) as client:
        await ready(client)
        cursor = (await client.get(f"{_JOBS}?limit=1000&offset=9000", headers=_headers(_ADA))).json()["next"]
        for user, template in REQUESTS:
            path = template.format(cursor=cursor, common=_uuid("preset 1"), rare=_uuid("preset 2"))
            times = []
            for _ in range(_REPEATS):
                began = time.perf_counter()
                response = await client.get(path, headers=_headers(user))
                times.append((time.perf_counter() - began) * 1000)
            figures[f"{user} {template}"] = (
                f"{percentile(times, 0.5):.1f} / {percentile(times, 0.99):.1f} ms  {_summary(response)}"
            )
    return figures


def _uuid(text: str) -> str:
    return str(UUID(md5(text.encode(), usedforsecurity=False).hexdigest()))


def _summary(response: httpx.Response) -> str:
    """Return the status of an answer, and the fields about its size."""
    body = response.json()
    parts = [f"{name}={body[name]}" for name in _SUMMARISED if name in body]
    items = [f"{len(body['items'])} items"] if "items" in body else []
    return ", ".join([str(response.status_code), *items, *parts])


def main() -> None:
    options = arguments(__doc__, jobs=1_000_000)
    if options.jobs < _MIN_JOBS:
        sys.exit(f"--jobs is at least {_MIN_JOBS}: one of the requests goes on behind 10,000 jobs of a user")
    with bench_environment() as env:
        began = time.perf_counter()
        asyncio.run(fill(env.database_url, options.jobs))
        filled = time.perf_counter() - began
        size = asyncio.run(fetch(env.database_url, "SELECT pg_total_relation_size('jobs') / 2^20 AS size"))
        figures: dict[str, Any] = {"filled in s": filled, "jobs with indexes, MiB": size[0]["size"]}
        with api(env) as url:
            figures |= asyncio.run(measure(url))
    report(f"Requests on {options.jobs:,} jobs: p50 / p99 of {_REPEATS}", figures, options.json)


if __name__ == "__main__":
    main()
