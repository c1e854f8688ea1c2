"""Each bad configuration stops the start with one line that says what to do, and `doctor` finds it."""

import asyncio
import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Final

import pytest
import redis as sync_redis
from msgspec import Struct
from structlog.testing import capture_logs

from faults import processes
from headrace.adapters import blob_store, server_conditions
from headrace.adapters.connection_counts import OF_A_WORKER, of_an_api
from headrace.adapters.data_folder import FolderUnusableError, NoRoomError
from headrace.adapters.database import StatementPool
from headrace.adapters.migrations import AlembicCommands
from headrace.adapters.server_conditions import ClockOffError, ServerConditions, TooFewConnectionsError
from headrace.adapters.tracing import tracing
from headrace.adapters.tracing.tracing import load_tracing
from headrace.cli.database_refusals import translate_refusals
from headrace.cli.doctor import run_checks
from headrace.cli.service import ServiceSpec
from headrace.cli.start_checks import check_start
from headrace.cli.up import require_room_for_all
from headrace.domain.errors import HeadraceError
from headrace.domain.pipelines import bundled
from headrace.settings import Settings, read_settings
from headrace.workers import startup
from headrace.workers.main import open_worker
from headrace.workers.supervision import Supervision
from headrace.workers.supervisor import REFUSED_EXIT
from support.harness import serving
from support.monitored import monitored_worker
from support.patience import PATIENCE_SECONDS, until

NO_SERVICE: Final = "http://127.0.0.1:1"
OF_AN_API: Final = of_an_api(Settings().database_connections)


class World(Struct):
    """What a bad configuration changes."""

    settings: Settings
    monkeypatch: pytest.MonkeyPatch

    def set_variable(self, name: str, value: str) -> None:
        self.monkeypatch.setenv(name, value)

    def execute(self, statement: str) -> None:
        """Run a statement in the database of the test."""
        asyncio.run(self._execute(statement))

    async def _execute(self, statement: str) -> None:
        pool = await StatementPool.open(self.settings.database, size=1)
        try:
            await pool.fetch(statement)
        finally:
            await pool.close()


@contextmanager
def wrong_url(world: World) -> Iterator[None]:
    world.set_variable("HEADRACE_DATABASE_URL", "mysql://me@localhost/headrace")
    yield


@contextmanager
def wrong_password(world: World) -> Iterator[None]:
    url = str(world.settings.database_url).replace(str(world.settings.database.password), "wrong")
    world.set_variable("HEADRACE_DATABASE_URL", url)
    yield


@contextmanager
def old_schema(world: World) -> Iterator[None]:
    AlembicCommands(world.settings.database).downgrade("0012")
    yield


@contextmanager
def newer_schema(world: World) -> Iterator[None]:
    world.execute("UPDATE alembic_version SET version_num = '9999'")
    world.execute("UPDATE schema_mark SET works_with = '9999', release = '9.9'")
    yield


@contextmanager
def missing_extra(world: World) -> Iterator[None]:
    world.monkeypatch.setattr(bundled, "_LIBRARIES", {"shootout": ("no_such_library",)})
    world.set_variable("HEADRACE_BUNDLED", "noop,shootout")
    yield


@contextmanager
def missing_tracing(world: World) -> Iterator[None]:
    world.monkeypatch.setattr(tracing, "_EXPORTER", "opentelemetry.nowhere")
    world.set_variable("HEADRACE_TRACES", "otlp")
    yield


@contextmanager
def evicting_redis(world: World) -> Iterator[None]:
    with sync_redis.Redis.from_url(str(world.settings.redis_url)) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            yield
        finally:
            client.config_set("maxmemory-policy", "noeviction")


@contextmanager
def wrong_clock(world: World) -> Iterator[None]:
    wrong = SimpleNamespace(time=lambda: time.time() + 600)
    world.monkeypatch.setattr(server_conditions, "time", wrong)
    yield


@contextmanager
def full_disk(world: World) -> Iterator[None]:
    usage = SimpleNamespace(total=10**12, used=10**12, free=10**7)
    world.monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    yield


@contextmanager
def read_only_folder(world: World) -> Iterator[None]:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    world.monkeypatch.setattr(blob_store, "open_private", refuse)
    yield


@contextmanager
def few_connections(world: World) -> Iterator[None]:
    name = str(world.settings.database.database)
    world.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 14')
    yield


def start_api(*, is_restart: bool = False) -> None:
    check_start(read_settings(), "127.0.0.1", is_restart=is_restart)


def start_worker(*, is_restart: bool = False) -> None:
    async def start() -> None:
        supervision = Supervision(is_restart=is_restart)
        async with open_worker(settings, ("default",), 1, supervision=supervision):
            pass

    settings = read_settings()
    load_tracing(settings.traces, "headrace-worker")
    with translate_refusals():
        asyncio.run(asyncio.wait_for(start(), PATIENCE_SECONDS))


# What is wrong, the line of a start, and that of `doctor` if it is another one.
OF_EVERY_START: Final = [
    (wrong_url, "HEADRACE_DATABASE_URL: expected a URL that starts with postgresql://", None),
    (wrong_password, "password authentication failed .*; correct it there, or in the file", "is refused"),
    (old_schema, "older than this release needs; run: headrace migrate", None),
    (newer_schema, "too new for this release .*; install headrace 9.9 or later", None),
    (missing_tracing, r"HEADRACE_TRACES=otlp needs OpenTelemetry: pip install", None),
    (evicting_redis, "run: redis-cli CONFIG SET maxmemory-policy noeviction", None),
    (wrong_clock, "is 600 s ahead of that of PostgreSQL: synchronise both with a time server", None),
    (full_disk, "has 10 MB free, and a start needs 100 MB: make room", "only 0.0 GB free"),
    (read_only_folder, "HEADRACE_DATA_DIR: .*cannot be written .*: let the user", "cannot be written"),
]
TOO_FEW: Final = r"accepts 14 connections \(the limit of the database\), and {} may open {}: raise"
CASES: Final = [
    *(
        (bad, start, line, finding)
        for bad, line, finding in OF_EVERY_START
        for start in (start_api, start_worker)
    ),
    # An API runs no pipelines, so it needs no libraries of theirs.
    (missing_extra, start_worker, r"HEADRACE_BUNDLED: shootout needs no_such_library: pip install", None),
    *(
        (
            few_connections,
            start,
            TOO_FEW.format(process, count),
            f"an API and a worker may open {OF_AN_API + OF_A_WORKER}: raise that limit",
        )
        for start, process, count in (
            (start_api, "the API", OF_AN_API),
            (start_worker, "a worker", OF_A_WORKER),
        )
    ),
]


@pytest.mark.parametrize(
    ("bad", "start", "line", "finding"),
    CASES,
    ids=[f"{bad.__name__}-{start.__name__}" for bad, start, *_ in CASES],
)
async def test_a_bad_configuration_stops_the_start_and_doctor_finds_it(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    bad: Any,
    start: Callable[[], None],
    line: str,
    finding: str | None,
) -> None:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    world = World(settings, monkeypatch)

    def try_it() -> tuple[str, list[str]]:
        before = run_checks(None, NO_SERVICE, None)
        with bad(world):
            refusal = ""
            try:
                start()
            except HeadraceError as error:
                refusal = str(error)
            after = run_checks(None, NO_SERVICE, None)
        assert [each.text for each in before if not each.ok] == []
        return refusal, [each.text for each in after if not each.ok]

    refusal, faults = await asyncio.to_thread(try_it)

    assert re.search(line, refusal), refusal
    assert "\n" not in refusal
    assert [text for text in faults if re.search(finding or line, text)], faults


@pytest.mark.parametrize("start", [start_api, start_worker])
async def test_a_restart_is_not_refused_for_what_was_good_at_the_first_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, start: Callable[..., None]
) -> None:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    world = World(settings, monkeypatch)

    def try_it() -> None:
        with wrong_clock(world), few_connections(world):
            start(is_restart=True)

    await asyncio.to_thread(try_it)


@pytest.mark.parametrize("start", [start_api, start_worker])
@pytest.mark.parametrize("bad", [full_disk, read_only_folder])
async def test_a_store_that_fails_in_operation_refuses_first_starts_and_no_restart(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, bad: Any, start: Callable[..., None]
) -> None:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    world = World(settings, monkeypatch)

    def try_it() -> None:
        settings.blob_dir.mkdir()
        with bad(world):
            start(is_restart=True)
            with pytest.raises((FolderUnusableError, NoRoomError), match="HEADRACE_DATA_DIR: "):
                start()

    await asyncio.to_thread(try_it)


async def test_a_restarted_worker_waits_for_the_schema(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database is being restored, or was downgraded, under a running service."""
    monkeypatch.setattr(startup, "_MAX_BOUNDED_TRIES", 1)
    schema = AlembicCommands(settings.database)
    await asyncio.to_thread(schema.downgrade, "0012")

    with capture_logs() as lines:
        async with asyncio.TaskGroup() as tasks:
            starting = tasks.create_task(start_restarted(settings))
            await until(lambda: "waiting_for_postgresql" in [line["event"] for line in lines])
            await asyncio.to_thread(schema.upgrade)
            await asyncio.wait_for(starting, PATIENCE_SECONDS)

    assert "worker_ready" in [line["event"] for line in lines]


async def start_restarted(settings: Settings) -> None:
    async with open_worker(settings, ("default",), 1, supervision=Supervision(is_restart=True)):
        pass


async def test_a_worker_with_an_old_schema_exits_with_one_line_and_is_not_restarted(
    settings: Settings,
) -> None:
    await asyncio.to_thread(AlembicCommands(settings.database).downgrade, "0012")

    async with processes.running(settings, "worker") as refused:
        status = await refused.wait()

    refusals = [line for line in refused.output.splitlines() if line.startswith("headrace worker: ")]
    assert (status, refusals) == (
        REFUSED_EXIT,
        [
            "headrace worker: the database schema is older than this release needs; run: headrace migrate",
        ],
    )


@pytest.mark.parametrize("workers", [1, 3])
async def test_up_needs_the_connections_of_all_its_processes(
    settings: Settings, database: StatementPool, workers: int
) -> None:
    name, limit = settings.database.database, OF_AN_API + workers * OF_A_WORKER
    spec = ServiceSpec(
        settings=settings, host="127.0.0.1", port=0, workers=workers, data_dir=settings.data_dir
    )

    await database.fetch(f'ALTER DATABASE "{name}" CONNECTION LIMIT {limit}')
    await require_room_for_all(spec, settings.database)
    await database.fetch(f'ALTER DATABASE "{name}" CONNECTION LIMIT {limit - 1}')
    with pytest.raises(TooFewConnectionsError, match=f"accepts {limit - 1} .* may open {limit}"):
        await require_room_for_all(spec, settings.database)


async def test_the_counted_connections_are_those_of_the_pools(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    open_pool = StatementPool.open

    async def record(*arguments: Any, size: int = 4, **options: Any) -> StatementPool:
        sizes.append(size)
        return await open_pool(*arguments, size=size, **options)

    monkeypatch.setattr(StatementPool, "open", record)
    async with serving(settings):
        of_api = sum(sizes) + settings.database_connections
    sizes.clear()
    async with monitored_worker(settings):
        of_worker = sum(sizes)

    # A probe, and in a worker the connection for notices, are no pools.
    assert (of_api + 1, of_worker + 2) == (of_an_api(settings.database_connections), OF_A_WORKER)


@pytest.mark.parametrize(("seconds", "words"), [(61.0, "61 s ahead of"), (-90.0, "90 s behind")])
def test_the_line_about_a_clock_says_which_way_it_is_wrong(seconds: float, words: str) -> None:
    fault = ServerConditions(seconds, {}).find_clock_fault()

    assert isinstance(fault, ClockOffError)
    assert words in str(fault)


def test_small_differences_of_clocks_and_enough_connections_are_no_fault() -> None:
    conditions = ServerConditions(-59.0, {"max_connections": 32})

    assert conditions.find_clock_fault() is None
    assert conditions.find_connection_fault(32, "the API") is None
    assert ServerConditions(0.0, {}).find_connection_fault(1000, "the API") is None
