"""The ports that `up` gives to its workers."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.cli.listener import find_free_ports
from headrace.cli.service import Service, ServiceSpec
from headrace.settings import Settings

HOST = "127.0.0.1"
UNUSED = 1  # a port that is never tried


@pytest.fixture
def taken() -> Iterator[int]:
    """Return a port that is in use."""
    with socket.create_server((HOST, 0)) as other:
        yield other.getsockname()[1]


def test_a_taken_port_is_left_out(taken: int) -> None:
    ports = find_free_ports(HOST, taken, 2, besides=UNUSED)

    assert len(set(ports)) == 2
    assert taken < min(ports)


def test_the_port_of_the_api_is_left_out_while_it_is_free(taken: int) -> None:
    first = find_free_ports(HOST, taken, 1, besides=UNUSED)[0]

    assert first < find_free_ports(HOST, taken, 1, besides=first)[0]


def test_no_ports_are_found_where_none_are_wanted() -> None:
    assert find_free_ports(HOST, 0, 2, besides=UNUSED) == [0, 0]


def test_the_search_ends_at_the_highest_port() -> None:
    assert find_free_ports(HOST, 65535, 2, besides=65535) == [0, 0]
    assert 0 in find_free_ports(HOST, 65535, 2, besides=UNUSED)


def test_a_misspelt_host_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker then says that it cannot listen there."""
    lookups = []

    def fail(host: str, port: int, **_kind: int) -> None:
        lookups.append((host, port))
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    assert find_free_ports("localhots", 8001, 3, besides=8000) == [8001, 8001, 8001]
    assert lookups == [("localhots", 8001)]


def test_a_worker_does_not_get_the_port_of_the_api(taken: int, tmp_path: Path) -> None:
    free = find_free_ports(HOST, taken, 1, besides=UNUSED)[0]
    settings = Settings(worker_host=HOST, worker_port=free)
    spec = ServiceSpec(settings=settings, host=HOST, port=free, workers=2, data_dir=tmp_path)

    service = Service(spec, lambda *_: None)

    commands = [worker._command for worker in service.workers]
    assert len(commands) == 2
    assert all(str(free) not in command for command in commands)
