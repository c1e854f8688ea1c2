"""How many turns of the loop new connections wait: a flood of them must not delay a health check."""

import asyncio
import socket
from contextlib import ExitStack

import uvloop

from headrace.cli.listener import listen, listeners_of

CONNECTIONS = 64


class Counted(asyncio.Protocol):
    def __init__(self, accepted: list[asyncio.BaseTransport]) -> None:
        self._accepted = accepted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._accepted.append(transport)


async def turns_until_all_are_accepted(listeners: list[socket.socket]) -> int:
    loop = asyncio.get_running_loop()
    accepted: list[asyncio.BaseTransport] = []
    servers = [await loop.create_server(lambda: Counted(accepted), sock=each) for each in listeners]
    turns = 0
    while len(accepted) < CONNECTIONS:
        await asyncio.sleep(0)
        turns += 1
    for transport in accepted:
        transport.close()
    for server in servers:
        server.close()
    return turns


def test_several_connections_are_accepted_in_a_turn() -> None:
    with ExitStack() as stack, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        listener = listen("127.0.0.1", 0)
        for _ in range(CONNECTIONS):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        turns = runner.run(turns_until_all_are_accepted(listeners_of(listener)))

    assert turns < CONNECTIONS / 4
