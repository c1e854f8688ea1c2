"""The order in which hosts are tried, with a driver that only pretends to connect."""

from typing import Any

import asyncpg
import pytest

from headrace.adapters.postgres_connector import PostgresConnector
from headrace.adapters.postgres_url import parse_postgres_url


class FakeStatement:
    async def fetch(self) -> list[tuple[bool, str]]:
        return [(True, '"headrace"')]


class FakeConnection:
    def __init__(self, host: str) -> None:
        self.host = host

    async def prepare(self, _: str, **__: Any) -> FakeStatement:
        return FakeStatement()


class FakeDriver:
    """Connects as *outcomes* say: an error for a host, or a connection."""

    def __init__(self, outcomes: dict[str, Exception]) -> None:
        self.outcomes = outcomes
        self.attempts: list[tuple[str, str | None, float]] = []

    async def connect(self, _: str, **options: Any) -> FakeConnection:
        host = options["host"]
        self.attempts.append((host, options["target_session_attrs"], options["timeout"]))
        error = self.outcomes.get(f"{host} {options['target_session_attrs']}") or self.outcomes.get(host)
        if error is not None:
            raise error
        return FakeConnection(host)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    made = FakeDriver({})
    monkeypatch.setattr(asyncpg, "connect", made.connect)
    return made


def connector(query: str = "", answer_seconds: float = 30) -> PostgresConnector:
    address = parse_postgres_url(f"postgresql://a,b,c/jobs{query}")
    return PostgresConnector(address, {}, answer_seconds=answer_seconds)


@pytest.mark.parametrize(
    "error",
    [
        OSError(),
        TimeoutError(),
        asyncpg.CannotConnectNowError("it starts"),
        asyncpg.TargetServerAttributeNotMatched("read-only"),
    ],
    ids=["refused", "silent", "starting", "read-only"],
)
async def test_a_host_that_does_not_fit_is_passed_over_and_the_next_connect_begins_with_the_one_that_did(
    driver: FakeDriver, error: Exception
) -> None:
    opener = connector("?target_session_attrs=read-write")
    driver.outcomes = {"a": error}

    first = await opener.connect()
    driver.outcomes = {}
    second = await opener.connect()
    driver.outcomes = {"b": error, "c": error}
    third = await opener.connect()

    hosts = [connection.host for connection in (first, second, third)]  # type: ignore[attr-defined]
    assert hosts == ["b", "b", "a"]
    assert [host for host, _, _ in driver.attempts] == ["a", "b", "b", "b", "c", "a"]
    assert {target for _, target, _ in driver.attempts} == {"read-write"}


async def test_a_silent_host_leaves_time_for_the_others(driver: FakeDriver) -> None:
    own = "?connect_timeout=7"
    openers = [connector(), connector(own), connector(answer_seconds=3), connector(own, answer_seconds=3)]
    for opener in openers:
        await opener.connect()

    assert [limit for _, _, limit in driver.attempts] == [pytest.approx(5 / 3), 7, 1, 1]
    assert [opener.connect_seconds for opener in openers] == [5, 21, 3, 3]


async def test_without_a_standby_any_host_is_taken(driver: FakeDriver) -> None:
    mismatch = asyncpg.TargetServerAttributeNotMatched("no standby")
    driver.outcomes = {f"{host} standby": mismatch for host in "abc"}

    await connector("?target_session_attrs=prefer-standby").connect()

    assert [(host, target) for host, target, _ in driver.attempts] == [
        ("a", "standby"),
        ("b", "standby"),
        ("c", "standby"),
        ("a", "any"),
    ]


async def test_the_error_of_the_last_host_is_raised_and_a_refused_login_ends_the_search(
    driver: FakeDriver,
) -> None:
    driver.outcomes = {"a": OSError("a"), "b": OSError("b"), "c": OSError("c")}
    with pytest.raises(OSError, match="c"):
        await connector().connect()

    driver.outcomes = {"a": asyncpg.InvalidPasswordError("no")}
    driver.attempts.clear()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connector().connect()

    assert len(driver.attempts) == 1
