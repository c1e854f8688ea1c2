"""Hosts keep their last addresses while no name server answers."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from headrace.adapters.host_names import KEPT_SECONDS, HostNames
from support.patience import PATIENCE_SECONDS

ADDRESSES = ["10.1.2.3", "fd00::3"]
AWAY = socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")
UNKNOWN = socket.gaierror(socket.EAI_NONAME, "name or service not known")


class NameServer:
    """Answers with `ADDRESSES`, raises an error, or hangs until it is released."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.lookups = 0
        self.released = threading.Event()
        self.released.set()

    def look_up(self, _: str) -> list[Any]:
        self.lookups += 1
        assert self.released.wait(PATIENCE_SECONDS)
        if self.error is not None:
            raise self.error
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ADDRESSES]


@pytest.fixture
def server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.released.set()


async def known(server: NameServer, **options: Any) -> HostNames:
    """Return names that have looked the host `postgres` up."""
    names = HostNames(server.look_up, **options)
    assert await names.find("postgres") == ADDRESSES
    return names


def test_only_hosts_that_are_named_are_remembered() -> None:
    names = HostNames()

    names.keep(["postgres", "redis"])

    assert [host in names for host in ("postgres", "redis", "example.org")] == [True, True, False]


async def test_a_name_server_that_answers_is_believed(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = await known(server, wait_seconds=PATIENCE_SECONDS)
    monkeypatch.setitem(globals(), "ADDRESSES", ["10.9.9.9"])

    assert await names.find("postgres") == ["10.9.9.9"]


async def test_the_last_addresses_stand_in_while_no_name_server_can_be_reached(server: NameServer) -> None:
    names = await known(server)
    server.error = AWAY

    with capture_logs() as logs:
        found = [await names.find("postgres") for _ in range(3)]

    assert found == [ADDRESSES] * 3
    assert logs == [
        {"event": "name_servers_away", "log_level": "warning", "host": "postgres", "addresses": ADDRESSES}
    ]


async def test_those_who_connect_share_a_lookup_that_hangs(server: NameServer) -> None:
    names = await known(server, wait_seconds=0.01)
    server.released.clear()

    found = await asyncio.gather(*(names.find("postgres") for _ in range(20)))

    assert found == [ADDRESSES] * 20
    assert server.lookups == 2


@pytest.mark.parametrize("error", [UNKNOWN, UnicodeError("label too long")])
async def test_a_name_that_no_longer_exists_has_no_address(server: NameServer, error: Exception) -> None:
    names = await known(server, wait_seconds=PATIENCE_SECONDS)
    server.error = error

    with pytest.raises(socket.gaierror):
        await names.find("postgres")


async def test_a_host_without_an_earlier_answer_is_away_with_its_name_servers(server: NameServer) -> None:
    names = await known(server)
    server.error = AWAY

    with pytest.raises(socket.gaierror):
        await names.find("redis")


async def test_an_old_address_is_not_used(server: NameServer) -> None:
    now = [0.0]
    names = await known(server, clock=lambda: now[0])
    server.error = AWAY

    now[0] = KEPT_SECONDS + 1

    with pytest.raises(socket.gaierror):
        await names.find("postgres")


def test_a_lookup_outlives_the_loop_that_has_begun_it(server: NameServer) -> None:
    names = HostNames(server.look_up)
    server.released.clear()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(names.find("postgres"), 0.01)

    asyncio.run(give_up())
    server.released.set()

    assert asyncio.run(asyncio.wait_for(names.find("postgres"), PATIENCE_SECONDS)) == ADDRESSES
