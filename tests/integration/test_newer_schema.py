"""A newer release has migrated the database below processes of this one: they go on if its schema fits."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from structlog.testing import capture_logs

from headrace.adapters import migrations
from headrace.adapters.database import StatementPool
from headrace.adapters.migrations import AlembicCommands
from headrace.adapters.revisions import MIGRATIONS, known_revisions, newest_revision, required_revision
from headrace.adapters.schema import SchemaAheadError, SchemaBehindError, find_schema_fault
from headrace.cli.migrate import bring_up_to_date
from headrace.cli.start_checks import check_start
from headrace.settings import Settings
from headrace.workers.main import open_worker
from headrace.workers.maintenance import schema_watch
from support.harness import serving, working
from support.patience import PATIENCE_SECONDS

RELEASE = version("headrace")
MIGRATION = """
revision, down_revision, branch_labels, depends_on = "9999", {newest!r}, None, None
{works_with}


def upgrade():
    pass


def downgrade():
    pass
"""


def run_in_thread(call: Any, *arguments: Any) -> Any:
    """Run in a thread without an event loop, because Alembic starts its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call, *arguments).result()


class NewerRelease:
    """The migrations of a release that has one more than this one."""

    def __init__(self, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._url = url
        self._monkeypatch = monkeypatch
        (folder / "versions").mkdir(parents=True)
        for name in ("env.py", "alembic.ini", "script.py.mako"):
            (folder / name).write_text((MIGRATIONS / name).read_text())
        for path in (MIGRATIONS / "versions").glob("*.py"):
            (folder / "versions" / path.name).write_text(path.read_text())

    async def migrate(self, works_with: str | None) -> None:
        """Migrate to a schema that works with releases from the revision *works_with* on."""
        await self._run("upgrade", works_with, "head")

    async def downgrade(self) -> None:
        await self._run("downgrade", None, newest_revision())

    async def _run(self, command: str, works_with: str | None, revision: str) -> None:
        newest = newest_revision()
        line = "" if works_with is None else f"works_with = {works_with!r}"
        source = MIGRATION.format(newest=newest, works_with=line)
        (self._folder / "versions" / "9999_newer.py").write_text(source)
        with self._monkeypatch.context() as patched:
            patched.setattr(migrations, "MIGRATIONS", self._folder)
            commands = AlembicCommands(self._url)
            await asyncio.to_thread(run_in_thread, getattr(commands, command), revision)


@pytest.fixture
def newer(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> NewerRelease:
    return NewerRelease(tmp_path / "newer", str(settings.database_url), monkeypatch)


@pytest.fixture
async def fitting(newer: NewerRelease) -> NewerRelease:
    """A newer release whose schema fits this one."""
    await newer.migrate(newest_revision())
    return newer


async def test_on_a_newer_schema_that_fits_the_api_and_the_worker_start_and_work(
    fitting: NewerRelease, settings: Settings
) -> None:
    await asyncio.to_thread(check_start, settings, "127.0.0.1")
    async with serving(settings) as api, working(settings):
        job = await api.finish((await api.submit("noop"))["id"])
        ready = await api.http.get("/health/ready")

    assert job["state"] == "succeeded"
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "degraded": []})


async def test_running_processes_go_on_below_a_fitting_schema_and_end_below_another(
    newer: NewerRelease, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_watch, "_SECONDS", 0.1)
    async with serving(settings) as api, working(settings) as running:
        before = await api.http.get("/health/ready")
        await newer.migrate(newest_revision())
        fitting = await api.http.get("/health/ready")
        job = await api.finish((await api.submit("noop"))["id"])
        goes_on = not running.worker.stopping.is_set
        await newer.downgrade()
        await newer.migrate("9999")
        foreign = await api.http.get("/health/ready")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not running.worker.stopping.is_set:
                await asyncio.sleep(0.05)

    assert [before.status_code, fitting.status_code, foreign.status_code] == [200, 200, 503]
    assert (job["state"], goes_on) == ("succeeded", True)
    assert foreign.json()["degraded"][0] == "schema"
    assert f"headrace {RELEASE} or later" in foreign.json()["detail"]


@pytest.mark.parametrize("works_with", ["9999", None])
async def test_on_a_newer_schema_that_does_not_fit_nothing_starts_and_the_line_names_the_release(
    newer: NewerRelease, settings: Settings, works_with: str | None
) -> None:
    await newer.migrate(works_with)
    line = f"revision 9999.* too new .*{newest_revision()}.* install headrace {RELEASE} or later"

    with pytest.raises(SchemaAheadError, match=line):
        await asyncio.to_thread(check_start, settings, "127.0.0.1")
    with pytest.raises(SchemaAheadError, match=line):
        async with open_worker(settings, ("default",), 1):
            pass
    with pytest.raises(SchemaAheadError, match=line):
        await asyncio.to_thread(bring_up_to_date, str(settings.database_url))


async def test_migrating_changes_nothing_on_a_newer_schema_that_fits(
    fitting: NewerRelease, settings: Settings, database: StatementPool
) -> None:
    await asyncio.to_thread(bring_up_to_date, str(settings.database_url))

    rows = await database.fetch("SELECT version_num, works_with FROM alembic_version CROSS JOIN schema_mark")
    assert [(row["version_num"], row["works_with"]) for row in rows] == [("9999", newest_revision())]


async def test_a_downgrade_restores_the_mark(fitting: NewerRelease, database: StatementPool) -> None:
    await fitting.downgrade()

    rows = await database.fetch("SELECT works_with FROM schema_mark")
    newest = ScriptDirectory(str(MIGRATIONS)).get_revision(newest_revision())
    assert newest is not None
    assert [row["works_with"] for row in rows] == [newest.module.works_with]


async def test_a_newer_schema_without_a_mark_does_not_fit(database: StatementPool) -> None:
    await database.fetch("DROP TABLE schema_mark")

    fault = await find_schema_fault(database, "9999")

    assert isinstance(fault, SchemaAheadError)
    assert "install the release that has migrated it" in str(fault)


TOO_OLD = [name for name in known_revisions() if name < required_revision()]


@pytest.mark.parametrize("revision", [None, *TOO_OLD])
async def test_an_older_schema_is_to_be_migrated(database: StatementPool, revision: str | None) -> None:
    fault = await find_schema_fault(database, revision)

    assert isinstance(fault, SchemaBehindError)
    assert str(fault).endswith("run: headrace migrate")


@pytest.mark.parametrize(("revision", "event"), [("0012", "schema_too_old"), ("9999", "schema_too_new")])
async def test_a_worker_stops_once_the_schema_does_not_fit(
    database: StatementPool, revision: str, event: str
) -> None:
    stops: list[str] = []
    watch = schema_watch.SchemaWatch(database, lambda: stops.append("stopped"))
    before = await watch.check()
    await database.fetch("UPDATE alembic_version SET version_num = $1", revision)
    await database.fetch("UPDATE schema_mark SET works_with = $1", revision)

    with capture_logs() as lines:
        after = await watch.check()

    assert (before, after, stops) == (0, 1, ["stopped"])
    assert [line["event"] for line in lines] == [event]
