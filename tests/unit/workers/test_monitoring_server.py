"""The server of probes and metrics: it is bounded, and answers while the worker's loop is blocked."""

import asyncio
import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import pytest

from headrace.workers.monitoring.server import MonitoringPage, MonitoringServer, Pages
from support.patience import PATIENCE_SECONDS


async def show_metrics() -> MonitoringPage:
    return MonitoringPage(b"some_total 1\n", "text/plain")


async def answer_live() -> MonitoringPage:
    return MonitoringPage(b"{}", "application/json", HTTPStatus.SERVICE_UNAVAILABLE)


PAGES: Pages = {"/metrics": show_metrics, "/health/live": answer_live}


def wait_for_port(server: MonitoringServer) -> int:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while server.port is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return server.port


@contextmanager
def served(host: str = "127.0.0.1", pages: Pages = PAGES) -> Iterator[int]:
    server = MonitoringServer(host, 0, pages)
    server.start()
    try:
        yield wait_for_port(server)
    finally:
        server.stop()


def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def send(port: int, raw: bytes) -> bytes:
    """Return everything that is answered to *raw*."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as client:
        answer = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(raw)
            while piece := client.recv(4096):
                answer += piece
        return answer


def test_pages_are_served_by_their_path_with_their_status() -> None:
    with served() as port:
        assert get(port, "/metrics") == (200, b"some_total 1\n")
        assert get(port, "/metrics?name=x") == (200, b"some_total 1\n")
        assert get(port, "/metrics", "HEAD") == (200, b"")
        assert get(port, "/health/live") == (503, b"{}")
        assert get(port, "/else")[0] == 404
        assert get(port, "/metrics", "POST")[0] == 405


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8001", "[::1]:8001", "10.1.2.3"])
def test_own_names_and_addresses_are_answered(host: str) -> None:
    with served() as port:
        assert get(port, "/metrics", Host=host)[0] == 200


def test_a_page_of_a_stranger_that_has_a_name_for_this_machine_reads_nothing() -> None:
    with served() as port:
        assert get(port, "/metrics", Host="rebound.example.com:8001")[0] == 403


def test_any_name_is_answered_on_an_address_that_was_set() -> None:
    with served("0.0.0.0") as port:  # noqa: S104  (what is tested)
        assert get(port, "/metrics", Host="worker.cluster.local")[0] == 200


def test_a_request_that_is_too_large_or_cut_is_not_answered() -> None:
    with served() as port:
        assert send(port, b"GET /metrics HTTP/1.1\r\nx: " + b"a" * 100_000 + b"\r\n\r\n") == b""
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as client:
            client.sendall(b"GET /metr")
        assert get(port, "/metrics")[0] == 200


@pytest.mark.parametrize("raw", [b"\r\n\r\n", b"\xff\xfe\r\n\r\n", b"GET\r\n\r\n"])
def test_nonsense_is_refused(raw: bytes) -> None:
    with served() as port:
        assert send(port, raw)[:12] in (b"HTTP/1.1 404", b"HTTP/1.1 405")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.workers.monitoring.server._REQUEST_SECONDS", PATIENCE_SECONDS)


@pytest.mark.usefixtures("patient")
def test_a_probe_takes_the_place_of_the_oldest_connection_that_asks_for_nothing() -> None:
    with served() as port:
        idle = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) for _ in range(100)]
        for client in idle:
            client.sendall(b"GET /met")

        status, _ = get(port, "/health/live")

        assert status == HTTPStatus.SERVICE_UNAVAILABLE
        with contextlib.suppress(ConnectionResetError):
            assert idle[0].recv(1) == b""
        for client in idle:
            client.close()


@pytest.mark.usefixtures("patient")
def test_requests_are_bounded_and_free_again() -> None:
    begun: list[None] = []
    is_over = threading.Event()

    async def answer_late() -> MonitoringPage:
        begun.append(None)
        while not is_over.is_set():
            await asyncio.sleep(0.01)
        return await show_metrics()

    with served(pages={"/metrics": answer_late}) as port:
        busy = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) for _ in range(32)]
        for client in busy:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(begun) < len(busy):
            assert time.monotonic() < deadline
        refused = send(port, b"GET /metrics HTTP/1.0\r\n\r\n")
        is_over.set()
        for client in busy:
            client.close()
        while (answer := send(port, b"GET /metrics HTTP/1.0\r\n\r\n")) == b"":
            assert time.monotonic() < deadline

    assert refused == b""
    assert answer.startswith(b"HTTP/1.1 200")


async def test_it_answers_while_the_loop_of_the_worker_is_blocked() -> None:
    answers: list[tuple[int, bytes]] = []
    with served() as port:
        thread = threading.Thread(target=lambda: answers.append(get(port, "/health/live")))
        thread.start()
        thread.join(PATIENCE_SECONDS)  # this test runs in the loop, which stands still meanwhile

    assert asyncio.get_running_loop().is_running()
    assert answers == [(503, b"{}")]


def test_it_waits_for_a_port_that_is_taken_and_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = MonitoringServer("127.0.0.1", other.getsockname()[1], PAGES, retry_seconds=0.01)
        server.start()
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while "monitoring_port_refused" not in caplog.text:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(0.1)  # several more tries
            was_open = server.port is not None
            other.close()
            assert get(wait_for_port(server), "/metrics")[0] == 200
        finally:
            server.stop()

    assert not was_open
    assert caplog.text.count("monitoring_port_refused") == 1
    assert "it is in use" in caplog.text


def test_it_ends_while_a_client_holds_a_connection() -> None:
    server = MonitoringServer("127.0.0.1", 0, PAGES)
    server.start()
    with socket.create_connection(("127.0.0.1", wait_for_port(server)), timeout=PATIENCE_SECONDS) as client:
        client.sendall(b"GET /metr")
        # Connections are accepted in order, so the server has this one once it answers the next.
        assert get(wait_for_port(server), "/metrics")[0] == 200

        server.stop()

        assert not server._thread.is_alive()


def test_it_ends_although_its_port_was_never_free() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = MonitoringServer("127.0.0.1", other.getsockname()[1], PAGES)
        server.start()
        server.stop()

        assert not server._thread.is_alive()
