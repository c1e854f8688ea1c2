"""What is wrong with PostgreSQL is told apart, and passes by itself: in API and worker, on real servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from structlog.testing import capture_logs

from headrace.adapters.servers import Servers
from headrace.settings import Settings
from support.harness import Api
from support.patience import STALL_SECONDS, until_async
from support.shared_service import SharedService

NOOP = {"pipeline": "noop"}
PASSWORD = "first"
FLOWS = Path(__file__).parent / "flows" / "later_flows.py"
# Much longer than a job needs that waits for nothing.
TIMEOUT_SECONDS = 4.0
FAIL_OVER_SECONDS = 2.0 + STALL_SECONDS
ROLE = f"app_{uuid4().hex[:12]}"


@pytest.fixture(scope="module")
async def owner(module_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the superuser to the database of the service."""
    connection = await asyncpg.connect(module_database_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def module_settings(
    servers: Servers,
    module_database_url: str,
    owner: asyncpg.Connection,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Settings]:
    """Settings of a service whose role is no superuser, but has the rights of the owner."""
    parts = urlsplit(module_database_url)
    await owner.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}' IN ROLE {parts.username}")
    yield Settings(
        database_url=f"postgresql://{ROLE}:{PASSWORD}@{parts.hostname}:{parts.port}{parts.path}",
        redis_url=str(servers.redis_url),
        data_dir=tmp_path_factory.mktemp("service"),
        pipelines=(str(FLOWS),),
        lease_seconds=60,
        worker_processes=1,
    )
    await owner.execute(f"DROP OWNED BY {ROLE}")
    await owner.execute(f"DROP ROLE {ROLE}")


@pytest.fixture
def service(module_service: SharedService) -> Api:
    """The service as the tests before have left it: its role has no right to reset it."""
    return module_service.api


class Fault(msgspec.Struct, frozen=True):
    """How PostgreSQL is broken and mended, and what a response and readiness say meanwhile."""

    name: str
    breaks: str
    mends: str
    code: str
    entry: str

    def __str__(self) -> str:
        return self.name


FAULTS = (
    Fault(
        "read-only",
        "ALTER DATABASE {database} SET default_transaction_read_only = on",
        "ALTER DATABASE {database} RESET default_transaction_read_only",
        "database_read_only",
        "postgresql: read-only",
    ),
    Fault(
        "password",
        f"ALTER ROLE {ROLE} PASSWORD 'second'",
        f"ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'",
        "database_refusing",
        "postgresql: wrong password",
    ),
    Fault(
        "login",
        f"ALTER ROLE {ROLE} NOLOGIN",
        f"ALTER ROLE {ROLE} LOGIN",
        "database_refusing",
        "postgresql: login refused",
    ),
    Fault(
        "connections",
        f"ALTER ROLE {ROLE} CONNECTION LIMIT 0",
        f"ALTER ROLE {ROLE} CONNECTION LIMIT -1",
        "database_out_of_connections",
        "postgresql: out of connections",
    ),
    Fault(
        "rights",
        f"REVOKE {{owner}} FROM {ROLE}",
        f"GRANT {{owner}} TO {ROLE}",
        "database_refusing",
        "postgresql: missing rights",
    ),
)


@asynccontextmanager
async def broken(fault: Fault, owner: asyncpg.Connection) -> AsyncIterator[None]:
    """Break PostgreSQL for the block, and cut the connections that the service has."""
    row = await owner.fetchrow("SELECT current_database() AS database, current_user AS owner")
    names = dict(row or {})
    await owner.execute(fault.breaks.format(**names))
    try:
        await owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", ROLE)
        yield
    finally:
        await owner.execute(fault.mends.format(**names))


async def ready(api: Api) -> tuple[int, list[str]]:
    response = await api.http.get("/health/ready")
    return response.status_code, response.json()["degraded"]


async def until_well(api: Api) -> None:
    async def is_well() -> bool:
        return await ready(api) == (200, [])

    await until_async(is_well)


def outages(logs: list[Any]) -> list[str]:
    return [
        log["event"] for log in logs if log["event"].startswith("outage") and log["service"] == "postgresql"
    ]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_each_fault_has_its_code_its_entry_and_its_lines_and_passes_by_itself(
    service: Api, owner: asyncpg.Connection, fault: Fault
) -> None:
    await until_well(service)
    running = await service.submit("ticks", params={"count": 20, "interval_ms": 50})
    refusals: list[Any] = []
    with capture_logs() as logs:
        async with broken(fault, owner):

            async def is_named() -> bool:
                refusals[:] = [
                    await service.http.post("/api/v1/jobs", json=NOOP),
                    await service.http.post("/api/v1/tags", json={"name": uuid4().hex}),
                ]
                codes = {refusal.json().get("code") for refusal in refusals}
                status, entries = await ready(service)
                return codes == {fault.code} and (status, entries[0]) == (503, fault.entry)

            await until_async(is_named, lambda: str([refusal.text for refusal in refusals]))
        await until_well(service)
        accepted = [
            await service.http.post("/api/v1/jobs", json=NOOP),
            await service.http.post("/api/v1/tags", json={"name": uuid4().hex}),
        ]
        job = accepted[0].json()

        async def both_are_over() -> bool:
            return outages(logs).count("outage_over") == outages(logs).count("outage_began") > 0

        await until_async(both_are_over, lambda: str(logs))

    assert {refusal.status_code for refusal in refusals} == {503}
    assert {int(refusal.headers["Retry-After"]) > 0 for refusal in refusals} == {True}
    assert ROLE not in "".join(refusal.text for refusal in refusals)
    assert [response.status_code for response in accepted] == [202, 201]
    ended = await service.finish(running["id"])
    assert (ended["state"], ended["attempt"]) == ("succeeded", 1)
    assert (await service.finish(job["id"]))["state"] == "succeeded"
    # The API and the worker; a cut connection may have ended and begun one more.
    assert outages(logs).count("outage_began") <= 4
    assert not [log for log in logs if log["event"].endswith(("_put_off", "_away", "_missed", "_recorded"))]


async def test_the_time_limit_of_a_job_does_not_run_while_it_waits_for_postgresql(
    service: Api, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    await until_well(service)
    sign = tmp_path / "go"
    terms = {"params": {"sign": str(sign)}, "timeout_seconds": TIMEOUT_SECONDS}
    jobs = [await service.submit(pipeline, **terms) for pipeline in ("output_later", "items_later")]

    async def all_run() -> bool:
        return {(await service.job(job["id"]))["state"] for job in jobs} == {"running"}

    await until_async(all_run)
    async with broken(FAULTS[0], owner):
        # The first job has an output to store from now on, and the second one items.
        sign.touch()
        await asyncio.sleep(TIMEOUT_SECONDS + 1)
    await until_well(service)
    ended = [await service.finish(job["id"]) for job in jobs]

    assert [(job["state"], job["attempt"]) for job in ended] == [("succeeded", 1)] * len(ended)


async def test_a_lock_on_the_jobs_makes_the_service_unready_as_slow(
    service: Api, owner: asyncpg.Connection
) -> None:
    await until_well(service)

    async with owner.transaction():
        await owner.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        locked = await ready(service)
        during = await service.http.post("/api/v1/tags", json={"name": uuid4().hex})

    await until_well(service)
    assert (locked[0], locked[1][0]) == (503, "postgresql: slow")
    assert during.status_code == 201


async def test_a_fail_over_is_over_for_api_and_worker_2_s_after_the_server_is_writable(
    service: Api, owner: asyncpg.Connection
) -> None:
    reads = ["/api/v1/jobs", "/api/v1/tags", "/api/v1/presets", "/api/v1/files"] * 5
    loop = asyncio.get_running_loop()
    async with broken(FAULTS[0], owner):

        async def is_read_only() -> bool:
            # Each pool gets connections that will stay read-only.
            await asyncio.gather(*(service.http.get(path) for path in reads))
            return "postgresql: read-only" in (await ready(service))[1]

        await until_async(is_read_only)
    writable_at = loop.time()
    await until_well(service)
    ready_at = loop.time()
    tags = [service.http.post("/api/v1/tags", json={"name": uuid4().hex}) for _ in range(16)]
    jobs = [service.http.post("/api/v1/jobs", json=NOOP) for _ in range(8)]
    responses = await asyncio.gather(*tags, *jobs)
    ended = [await service.finish(response.json()["id"]) for response in responses[16:]]
    ended_at = loop.time()

    # No write fails any more once the service is ready.
    assert [response.status_code for response in responses] == [201] * 16 + [202] * 8
    assert {job["state"] for job in ended} == {"succeeded"}
    assert ready_at - writable_at < FAIL_OVER_SECONDS
    assert ended_at - ready_at < FAIL_OVER_SECONDS
