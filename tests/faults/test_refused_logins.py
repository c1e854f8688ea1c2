"""A login that PostgreSQL refuses ends a process at its first start only."""

import signal
from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from faults import processes
from headrace.settings import Settings

REFUSED = 78


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def role(owner: asyncpg.Connection, database_url: str) -> AsyncIterator[str]:
    """A role with the rights of the owner, and the password "first"."""
    name = f"app_{uuid4().hex[:12]}"
    await owner.execute(
        f"CREATE ROLE {name} LOGIN PASSWORD 'first' IN ROLE {urlsplit(database_url).username}"
    )
    yield name
    await owner.execute(f"DROP ROLE {name}")


def with_login(settings: Settings, role: str, password: str) -> Settings:
    place = str(settings.database_url).rpartition("@")[2]
    return msgspec.structs.replace(settings, database_url=f"postgresql://{role}:{password}@{place}")


async def test_a_worker_that_dies_while_its_password_is_refused_comes_back(
    settings: Settings, owner: asyncpg.Connection, role: str
) -> None:
    async with processes.supervised(with_login(settings, role, "first")) as parent:
        await owner.execute(f"ALTER ROLE {role} PASSWORD 'second'")
        parent.child().send(signal.SIGKILL)
        await parent.wait_for_output("condition='wrong password'")
        await owner.execute(f"ALTER ROLE {role} PASSWORD 'first'")
        await parent.wait_for_output("worker_ready", times=2)
        parent.send(signal.SIGTERM)

        assert await parent.wait() == 0
    assert "HEADRACE_DATABASE_URL is refused" not in parent.output


@pytest.mark.parametrize("arguments", [("worker",), ("api", "--port", "0")])
async def test_a_wrong_password_ends_the_first_start_with_one_line(
    settings: Settings, role: str, arguments: tuple[str, ...]
) -> None:
    async with processes.running(with_login(settings, role, "other"), *arguments) as refused:
        assert await refused.wait() == REFUSED

    [*_, last] = refused.output.splitlines()
    refusal = f'HEADRACE_DATABASE_URL is refused: password authentication failed for user "{role}"'
    assert last.endswith(f"{refusal}; correct it there, or in the file of HEADRACE_DATABASE_PASSWORD_FILE")


async def test_doctor_names_what_is_wrong_with_each_server(
    settings: Settings, owner: asyncpg.Connection, role: str
) -> None:
    lines = {}
    login = with_login(settings, role, "first")
    for name, breaks, mends in (
        ("wrong password", "PASSWORD 'second'", "PASSWORD 'first'"),
        ("out of connections", "CONNECTION LIMIT 0", "CONNECTION LIMIT -1"),
        ("read-only", "SET default_transaction_read_only = on", "RESET default_transaction_read_only"),
    ):
        await owner.execute(f"ALTER ROLE {role} {breaks}")
        async with processes.running(login, "doctor") as doctor:
            assert await doctor.wait() == 1
        await owner.execute(f"ALTER ROLE {role} {mends}")
        [lines[name]] = [line for line in doctor.output.splitlines() if "HEADRACE_DATABASE_URL" in line]

    assert "HEADRACE_DATABASE_URL is refused: password authentication failed" in lines["wrong password"]
    assert "HEADRACE_DATABASE_URL answers, but it is out of connections" in lines["out of connections"]
    assert "HEADRACE_DATABASE_URL answers, but it is read-only" in lines["read-only"]
