"""One URL serves every user of PostgreSQL: special characters, TLS, hosts, roles and passwords from files."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg
import msgspec
import pytest
from sqlalchemy import text

from headrace.adapters.database import StatementPool
from headrace.adapters.engine import build_engine
from headrace.adapters.migrations import AlembicCommands
from headrace.adapters.postgres_url import PostgresAddress, parse_postgres_url
from headrace.adapters.servers import run_servers
from headrace.cli.doctor import run_checks
from headrace.cli.errors import DatabaseRefusedError
from headrace.cli.migrate import bring_up_to_date, describe_revisions
from headrace.cli.start_checks import check_start
from headrace.domain.base import METADATA
from headrace.domain.database import TRANSIENT, DatabaseAwayError
from headrace.settings import Settings, read_settings
from support.harness import on_database, serving, working
from support.patience import until_async
from support.scratch import make_server_folder
from support.tls import Certificates, Target, relayed

PASSWORD: Final = "p@ss:w/o?rd#50% +&=[x]"
READ_ONLY: Final = "ALTER SYSTEM SET default_transaction_read_only = on"
END_SESSIONS: Final = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'roaming'"
MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


async def execute(url: str, *statements: str) -> None:
    admin = await asyncpg.connect(url)
    for statement in statements:
        await admin.execute(statement)
    await admin.close()


def target_of(url: str) -> Target:
    ((host, port),) = parse_postgres_url(url).hosts
    return host, int(port or 0)


@pytest.fixture
async def url(database_url: str) -> str:
    """Return a URL whose password contains every character with a meaning in URLs."""
    await execute(
        database_url,
        "DROP ROLE IF EXISTS odd",
        f"CREATE ROLE odd LOGIN SUPERUSER PASSWORD '{PASSWORD}'",
    )
    _, _, place = database_url.rpartition("@")
    return f"postgresql://odd:{quote(PASSWORD, safe='')}@{place}"


@pytest.fixture
async def plain_role(database_url: str) -> AsyncIterator[str]:
    """A URL of a role without rights, as managed servers give them out, on an empty database."""
    await execute(
        database_url,
        "CREATE DATABASE managed",
        "CREATE ROLE plain LOGIN PASSWORD 'pw'",
    )
    host, port = target_of(database_url)
    yield f"postgresql://plain:pw@{host}:{port}/managed"
    await execute(database_url, "DROP DATABASE managed WITH (FORCE)", "DROP ROLE plain")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path, "localhost")


async def roles_of_every_user(address: PostgresAddress) -> list[str]:
    """Return the role under which the pool and the engine connect; Alembic connects as well."""
    pool = await StatementPool.open(address, size=1)
    engine = build_engine(address)
    try:
        by_pool = await pool.fetch("SELECT current_user AS name")
        async with engine.connect() as connection:
            by_engine = (await connection.execute(text("SELECT current_user"))).scalar_one()
        await asyncio.to_thread(AlembicCommands(address).check, METADATA)
        revisions = await asyncio.to_thread(describe_revisions, address)
    finally:
        await engine.dispose()
        await pool.close()
    assert revisions[0].startswith(">")
    return [by_pool[0]["name"], by_engine]


async def test_a_password_with_special_characters_works_for_every_connection(url: str) -> None:
    settings = read_settings({"HEADRACE_DATABASE_URL": url})

    assert await roles_of_every_user(settings.database) == ["odd", "odd"]
    assert PASSWORD in settings.secrets


async def test_a_url_with_everything_serves_the_whole_service(
    settings: Settings, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    database_url = str(settings.database_url)
    own = parse_postgres_url(database_url)
    async with relayed(target_of(database_url), certificates.server_context()) as port:
        full = read_settings(
            {
                "HEADRACE_DATABASE_URL": f"postgresql://{own.user}:{own.password}@localhost:1,localhost:{port}"
                f"/{own.database}?sslmode=verify-full&sslrootcert={certificates.ca}&connect_timeout=10"
                "&application_name=jobs&options=-c%20search_path%3Dpublic&channel_binding=prefer"
                "&target_session_attrs=read-write",
            }
        )
        complete = msgspec.structs.replace(settings, database_url=full.database_url)
        await asyncio.to_thread(bring_up_to_date, complete.database)
        await asyncio.to_thread(check_start, complete, "127.0.0.1")
        for name, value in complete.environment().items():
            monkeypatch.setenv(name, value)
        async with working(complete), serving(complete) as api:
            job = await api.submit("noop")
            finished = await api.finish(job["id"])
            listed = await api.http.get("/api/v1/jobs")
            cancelled = await api.http.post(f"/api/v1/jobs/{job['id']}/cancel")
            findings = await asyncio.to_thread(run_checks, None, str(api.http.base_url), None)
            rows = await StatementPool.open(database_url, size=1)
            names = await rows.fetch(
                "SELECT DISTINCT application_name AS name FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await rows.close()

    assert finished["state"] == "succeeded"
    assert (listed.status_code, len(listed.json()["items"]), cancelled.status_code) == (200, 1, 409)
    assert [finding.text for finding in findings if not finding.ok] == []
    assert [row["name"] for row in names] == ["jobs"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("has_tls", [True, False], ids=["tls", "plain"])
async def test_each_sslmode_is_what_libpq_means_by_it(
    mode: str, has_tls: bool, database_url: str, certificates: Certificates
) -> None:
    own = parse_postgres_url(database_url)
    host, own_port = target_of(database_url)
    async with relayed((host, own_port), certificates.server_context()) as tls_port:
        # The certificate has another name than 127.0.0.1.
        place = f"127.0.0.1:{tls_port if has_tls else own_port}/{own.database}"
        address = parse_postgres_url(
            f"postgresql://{own.user}:{own.password}@{place}?sslmode={mode}"
            + (f"&sslrootcert={certificates.ca}" if mode.startswith("verify") else "")
        )
        pool = await StatementPool.open(address, size=1)
        try:
            await pool.fetch("SELECT 1")
            outcome = "connected"
        except TRANSIENT as error:
            outcome = error.reason
        await pool.close()

    without = "the server has no TLS, which sslmode demands"
    expected = {
        "disable": ("connected", "connected"),
        "allow": ("connected", "connected"),
        "prefer": ("connected", "connected"),
        "require": ("connected", without),
        "verify-ca": ("connected", without),
        "verify-full": ("certificate is not valid for '127.0.0.1'", without),
    }[mode][0 if has_tls else 1]
    assert expected in outcome


async def test_the_engine_prepares_a_statement_once(database_url: str) -> None:
    engine = build_engine(database_url)
    runs = "SELECT generic_plans + custom_plans FROM pg_prepared_statements WHERE statement = 'SELECT 7'"
    async with engine.connect() as connection:
        for _ in range(3):
            await connection.execute(text("SELECT 7"))
        counts = (await connection.execute(text(runs))).scalars().all()
    await engine.dispose()

    assert counts == [3]


async def test_a_stranger_certificate_is_refused_by_name_at_the_start(
    settings: Settings, certificates: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Certificates(tmp_path / "other", "localhost")
    own = parse_postgres_url(str(settings.database_url))
    async with relayed(target_of(str(settings.database_url)), certificates.server_context()) as port:
        strange = msgspec.structs.replace(
            settings,
            database_url=f"postgresql://{own.user}:{own.password}@localhost:{port}/{own.database}"
            f"?sslmode=verify-full&sslrootcert={other.ca}",
        )
        with pytest.raises(DatabaseRefusedError, match="certificate verify failed") as refused:
            await asyncio.to_thread(check_start, strange, "127.0.0.1")

    assert "\n" not in str(refused.value)


async def test_a_password_file_is_read_at_each_connection(database_url: str, tmp_path: Path) -> None:
    own = parse_postgres_url(database_url)
    await execute(database_url, "DROP ROLE IF EXISTS rotated", "CREATE ROLE rotated LOGIN PASSWORD 'first'")
    file = tmp_path / "password"
    file.write_text("first\n")
    settings = read_settings(
        {
            "HEADRACE_DATABASE_URL": f"postgresql://rotated@{own.hosts[0][0]}:{own.hosts[0][1]}/{own.database}",
            "HEADRACE_DATABASE_PASSWORD_FILE": str(file),
        }
    )
    pool = await StatementPool.open(settings.database, size=4)
    engine = build_engine(settings.database)
    before = await pool.fetch("SELECT pg_backend_pid() AS pid")

    await execute(database_url, "ALTER ROLE rotated PASSWORD 'second'")
    file.write_text("second")
    many = await asyncio.gather(
        *(pool.fetch("SELECT pg_sleep(0.1), pg_backend_pid() AS pid") for _ in range(4))
    )
    async with engine.connect() as connection:
        role = (await connection.execute(text("SELECT current_user"))).scalar_one()
    file.unlink()
    another = await StatementPool.open(settings.database, size=1)
    with pytest.raises(DatabaseAwayError, match="the password file cannot be read"):
        await another.fetch("SELECT 1")
    await engine.dispose()
    await pool.close()
    await another.close()

    pids = {rows[0]["pid"] for rows in many}
    assert before[0]["pid"] in pids
    assert len(pids) == 4
    assert role == "rotated"


@pytest.mark.parametrize("in_url", [True, False])
async def test_a_role_with_a_schema_of_its_own_runs_the_whole_service(
    plain_role: str, settings: Settings, in_url: bool
) -> None:
    await execute(
        on_database(str(settings.database_url), "managed"),
        "REVOKE ALL ON SCHEMA public FROM public",
        'CREATE SCHEMA "App" AUTHORIZATION plain',
    )
    managed = (
        msgspec.structs.replace(
            settings, database_url=f"{plain_role}?options=-c%20search_path%3D%5C%22App%5C%22"
        )
        if in_url
        else msgspec.structs.replace(settings, database_url=plain_role, database_schema="App")
    )
    await asyncio.to_thread(bring_up_to_date, managed.database)
    await asyncio.to_thread(check_start, managed, "127.0.0.1")

    async with working(managed), serving(managed) as api:
        finished = await api.finish((await api.submit("noop"))["id"])
        listed = await api.http.get("/api/v1/jobs")
        ready = await api.http.get("/health/ready")

    assert (finished["state"], listed.status_code, ready.json()["degraded"]) == ("succeeded", 200, [])


@pytest.fixture
def folder() -> Iterator[Path]:
    made = make_server_folder("headrace-hosts-")
    yield made
    shutil.rmtree(made)


async def test_after_a_fail_over_the_writable_host_is_found(folder: Path, database_url: str) -> None:
    # Its own server becomes read-only.
    with run_servers(folder, redis=False) as servers:
        old_url = str(servers.database_url)
        own, old = parse_postgres_url(database_url), parse_postgres_url(old_url)
        for place in (database_url, old_url):
            await execute(place, "DROP ROLE IF EXISTS roaming", "CREATE ROLE roaming LOGIN PASSWORD 'pw'")
        await execute(old_url, f"CREATE DATABASE {own.database}")
        hosts = ",".join(f"127.0.0.1:{place.hosts[0][1]}" for place in (old, own))
        pool = await StatementPool.open(
            f"postgresql://roaming:pw@{hosts}/{own.database}?target_session_attrs=read-write", size=2
        )

        async def is_at(place: PostgresAddress) -> bool:
            try:
                rows = await pool.fetch("SELECT inet_server_port() AS port")
            except TRANSIENT:
                return False
            return bool(rows[0]["port"] == place.hosts[0][1])

        assert await is_at(old)
        await execute(old_url, READ_ONLY, "SELECT pg_reload_conf()")
        await until_async(partial(is_read_only, old_url))
        await execute(old_url, END_SESSIONS)
        await until_async(partial(is_at, own))
        await pool.close()


async def is_read_only(url: str) -> bool:
    connection = await asyncpg.connect(url)
    try:
        return bool(await connection.fetchval("SHOW default_transaction_read_only") == "on")
    finally:
        await connection.close()
