"""What a connection holds: parsed in parts, in its turns, and never much of it."""

import asyncio
import socket
from contextlib import suppress

from headrace.api.server.intake import Intake
from headrace.api.server.small_reads import READ_BYTES, SmallReads
from headrace.api.server.turns import Turns
from support.patience import PATIENCE_SECONDS


class Connection(Intake):
    """A connection that parses only while a test allows it."""

    part_bytes = 1024

    def __init__(self) -> None:
        self.turns = Turns()
        self.is_open = False
        self.sizes: list[int] = []
        self.has_received = asyncio.Event()

    @property
    def held_bytes(self) -> int:
        return len(self._held or b"")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_protocol(SmallReads(self))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.has_received.set()

    def may_parse(self) -> bool:
        return self.is_open

    def parse(self, data: bytes) -> None:
        self.sizes.append(len(data))

    def resume_transport(self) -> None:
        self.transport.resume_reading()


async def test_a_flood_waits_in_the_kernel_and_not_in_the_process() -> None:
    total = 20 * READ_BYTES
    near, far = socket.socketpair()
    far.setblocking(False)
    connection = Connection()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_accepted_socket(lambda: connection, near)
    sending = asyncio.create_task(loop.sock_sendall(far, b"x" * total))

    async with asyncio.timeout(PATIENCE_SECONDS):
        await connection.has_received.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        held_bytes, parsed = connection.held_bytes, list(connection.sizes)
        connection.is_open = True
        connection.go_on()
        while sum(connection.sizes) < total:
            await asyncio.sleep(0)
        await sending
    transport.close()
    far.close()

    assert 0 < held_bytes <= READ_BYTES
    assert parsed == []
    assert max(connection.sizes) == connection.part_bytes
    with suppress(OSError):
        near.close()


async def test_a_connection_is_queued_once_however_often_it_may_go_on() -> None:
    connection = Connection()
    turned = []
    connection.take_turn = lambda: turned.append(1)  # type: ignore[method-assign]
    connection._held = bytearray(b"x")

    for _ in range(3):
        connection.go_on()
    for _ in range(3):
        await asyncio.sleep(0)

    assert turned == [1]
