"""The event loop of API and workers connects by name as uvloop does, and forgets no lookup."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.adapters.event_loop import ServiceLoop
from headrace.api.server.config import server_config
from headrace.workers.worker_loop import new_worker_loop
from support.patience import PATIENCE_SECONDS
from support.tls import Certificates

# No name server knows it: RFC 2606.
UNKNOWN_HOST = "headrace.invalid"


class HomeLoop(ServiceLoop):
    """Looks every name up as two addresses of this machine."""

    async def getaddrinfo(self, *arguments: Any, **_: Any) -> list[Any]:
        kind, port = (socket.AF_INET, socket.SOCK_STREAM, 0, ""), arguments[1]
        return [(*kind, (address, port)) for address in ("::1", "127.0.0.1", "127.0.0.1")]


async def greet(host: str, certificates: Certificates | None = None) -> bytes:
    """Connect to *host*, a server that listens on the second address, and return what it says."""

    async def say_hello(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    tls = None if certificates is None else ssl.create_default_context(cafile=str(certificates.ca))
    server = await asyncio.start_server(
        say_hello, "127.0.0.1", 0, ssl=certificates.server_context() if certificates else None
    )
    async with server, asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(host, server.sockets[0].getsockname()[1], ssl=tls)
        said = await reader.read()
        writer.close()
    return said


def test_a_connection_goes_to_the_first_address_that_accepts() -> None:
    with asyncio.Runner(loop_factory=HomeLoop) as runner:
        assert runner.run(greet("redis")) == b"hello"


def test_the_certificate_of_a_server_is_that_of_its_name(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path, "redis")

    with asyncio.Runner(loop_factory=HomeLoop) as runner:
        assert runner.run(greet("redis", certificates)) == b"hello"
        with pytest.raises(ssl.SSLCertVerificationError, match="valkey"):
            runner.run(greet("valkey", certificates))


@pytest.mark.parametrize("host", ["redis", "127.0.0.1"])
def test_a_connection_that_no_address_accepts_is_refused(host: str) -> None:
    async def run() -> None:
        with socket.socket() as bound:  # nobody listens there
            bound.bind(("127.0.0.1", 0))
            await asyncio.open_connection(host, bound.getsockname()[1])

    with asyncio.Runner(loop_factory=HomeLoop) as runner, pytest.raises(OSError, match="Connection refused"):
        runner.run(run())


def test_an_unknown_host_is_an_error_of_the_operating_system() -> None:
    async def run() -> None:
        await asyncio.open_connection(UNKNOWN_HOST, 6379)

    with asyncio.Runner(loop_factory=ServiceLoop) as runner, pytest.raises(socket.gaierror):
        runner.run(run())


@pytest.mark.parametrize("loop_factory", [ServiceLoop, new_worker_loop])
def test_a_cancelled_connection_leaves_no_lookup_whose_error_nobody_sees(
    loop_factory: Callable[[], ServiceLoop],
) -> None:
    async def run() -> list[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        problems: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, problem: problems.append(problem))
        connecting = asyncio.create_task(asyncio.open_connection(UNKNOWN_HOST, 6379))
        await asyncio.sleep(0)  # now it looks the name up
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        del connecting
        # The abandoned lookup began before these.
        for _ in range(3):
            with pytest.raises(socket.gaierror):
                await loop.getaddrinfo(UNKNOWN_HOST, 6379)
        return problems

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(run()) == []


def test_the_server_of_the_api_runs_in_this_loop() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    assert server_config(app, 10).get_loop_factory() is ServiceLoop
