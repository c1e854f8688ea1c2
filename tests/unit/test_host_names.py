"""Hosts keep their last address while no name server answers."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from headrace.adapters.host_names import KEPT_SECONDS, HostNames
from support.patience import PATIENCE_SECONDS

ADDRESS = "10.1.2.3"
AWAY = socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")


class NameServer:
    """Answers with `ADDRESS`, raises an error, or hangs until it is released."""

    def __init__(self) -> None:
        self.error: OSError | None = None
        self.lookups = 0
        self.released = threading.Event()
        self.released.set()

    def look_up(self, _: str) -> list[Any]:
        self.lookups += 1
        assert self.released.wait(PATIENCE_SECONDS)
        if self.error is not None:
            raise self.error
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ADDRESS, 0))]


@pytest.fixture
def server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.released.set()


async def known(server: NameServer, *, is_patient: bool = False, **options: Any) -> HostNames:
    """Return names that know the address of `postgres`, and wait for the name server only if *is_patient*."""
    names = HostNames(server.look_up, wait_seconds=PATIENCE_SECONDS, **options)
    assert await names.find("postgres") == "postgres"
    if not is_patient:
        names._wait_seconds = 0.01
    return names


@pytest.mark.parametrize("host", ["", "/run/postgresql", "@abstract", "127.0.0.1", "::1"])
async def test_what_is_no_name_is_not_looked_up(server: NameServer, host: str) -> None:
    assert await HostNames(server.look_up).find(host) == host
    assert server.lookups == 0


async def test_a_name_stays_a_name_while_a_name_server_answers(server: NameServer) -> None:
    names = await known(server, is_patient=True)

    assert await names.find("postgres") == "postgres"


async def test_the_last_address_stands_in_while_no_name_server_can_be_reached(server: NameServer) -> None:
    names = await known(server)
    server.error = AWAY

    with capture_logs() as logs:
        found = [await names.find("postgres") for _ in range(3)]

    assert found == [ADDRESS] * 3
    assert logs == [
        {"event": "name_servers_away", "log_level": "warning", "host": "postgres", "address": ADDRESS}
    ]


async def test_those_who_connect_share_a_lookup_that_hangs(server: NameServer) -> None:
    names = await known(server)
    before = server.lookups
    server.released.clear()

    found = await asyncio.gather(*(names.find("postgres") for _ in range(20)))

    assert found == [ADDRESS] * 20
    assert server.lookups == before + 1


async def test_a_name_that_no_longer_exists_is_not_replaced(server: NameServer) -> None:
    names = await known(server, is_patient=True)
    server.error = socket.gaierror(socket.EAI_NONAME, "name or service not known")

    assert await names.find("postgres") == "postgres"


async def test_an_unknown_host_is_left_to_the_driver(server: NameServer) -> None:
    names = await known(server)
    server.error = AWAY

    assert await names.find("other") == "other"


async def test_an_old_address_is_not_used(server: NameServer) -> None:
    now = [0.0]
    names = await known(server, clock=lambda: now[0])
    server.error = AWAY

    now[0] = KEPT_SECONDS + 1

    assert await names.find("postgres") == "postgres"


def test_a_lookup_outlives_the_loop_that_has_begun_it(server: NameServer) -> None:
    names = HostNames(server.look_up, wait_seconds=0.01)
    server.released.clear()
    assert asyncio.run(names.find("postgres")) == "postgres"

    server.released.set()

    assert asyncio.run(asyncio.wait_for(known_by(names), PATIENCE_SECONDS)) == ADDRESS


async def known_by(names: HostNames) -> str:
    while (address := names._addresses.get("postgres")) is None:
        await asyncio.sleep(0.01)
    return address.text
