"""Slow clients lose no events and cost little memory; stalled clients get a 1013 close."""

import asyncio
import gc
import tracemalloc
from contextlib import AsyncExitStack, suppress

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from headrace.adapters.database import StatementPool
from headrace.api.server import websocket_protocol, write_timeout
from headrace.api.server.websocket_protocol import TRY_AGAIN_LATER, WebSocketProtocol
from headrace.api.server.write_timeout import WriteTimeout
from support.harness import Api
from support.patience import PATIENCE_SECONDS, open_socket, until
from support.raw_reader import RawReader, raw_reader

EVENTS = 1_500
READERS = 8
MAX_BYTES = 256 * 1024
PINGS = 200
MANY = 500

# This is more than the socket buffers of both sides hold.
FILL = """
INSERT INTO job_events (job_id, seq, at, type, body)
SELECT $1::uuid, n, statement_timestamp(), 'log',
       json_build_object('level', 'info', 'message', repeat('x', 8000), 'fields', json_build_object())
FROM generate_series(2, $2::int) n
"""


async def job_with_long_history(api: Api, database: StatementPool) -> str:
    """Return the id of a waiting job with a long history."""
    job_id = str((await api.submit("noop", run_at="2100-01-01T00:00:00Z"))["id"])
    await database.fetch(FILL, job_id, EVENTS)
    await database.fetch("UPDATE jobs SET event_seq = $2 WHERE id = $1::uuid", job_id, EVENTS)
    return job_id


def blocked(api: Api) -> list[WebSocketProtocol]:
    return [
        connection
        for connection in api.server.server_state.connections
        if isinstance(connection, WebSocketProtocol) and not connection.writable.is_set()
    ]


def socket_path(job_id: str) -> str:
    return f"/api/v1/jobs/{job_id}/ws"


async def test_a_stalled_reader_gets_a_1013_close_after_the_buffered_events(
    api: Api, database: StatementPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_timeout, "_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(websocket_protocol, "_CLOSE_TIMEOUT_SECONDS", PATIENCE_SECONDS)
    job_id = await job_with_long_history(api, database)

    async with raw_reader(api, socket_path(job_id), upgrade=True) as reader:
        await until(lambda: bool(blocked(api)))
        await until(lambda: not api.app.state.services.hub._feeds)
        await reader.read_all()

    assert reader.close_code == TRY_AGAIN_LATER
    assert reader.seqs == list(range(1, len(reader.seqs) + 1))
    assert len(reader.seqs) < EVENTS


@pytest.mark.parametrize("path", ["ws", "stream"])
async def test_a_connection_that_is_never_read_is_reset(
    api: Api, database: StatementPool, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(write_timeout, "_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(websocket_protocol, "_CLOSE_TIMEOUT_SECONDS", 0.3)
    job_id = await job_with_long_history(api, database)
    before = set(api.server.server_state.connections)

    async with raw_reader(api, f"/api/v1/jobs/{job_id}/{path}", upgrade=path == "ws") as reader:
        await until(lambda: bool(api.app.state.services.hub._feeds))
        await until(lambda: api.server.server_state.connections <= before)
        await until(lambda: not api.app.state.services.hub._feeds)
        with pytest.raises(ConnectionResetError):
            await reader.read_all()


async def test_a_slow_reader_receives_every_event(
    api: Api, database: StatementPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The test decides when the time of a write is over.
    unread: dict[WriteTimeout, int] = {}
    monkeypatch.setattr(
        WriteTimeout,
        "_start_write_timer",
        lambda protocol: unread.update({protocol: write_timeout._unacknowledged_bytes(protocol.transport)}),
    )
    monkeypatch.setattr(WriteTimeout, "_stop_write_timer", lambda protocol: unread.pop(protocol, None))
    job_id = await job_with_long_history(api, database)

    async with raw_reader(api, socket_path(job_id), upgrade=True) as reader:
        await until(lambda: bool(blocked(api)))
        for _ in range(10):
            # The client reads slowly, for ten write timeouts: the buffers do not hold everything at once.
            assert unread
            await read_some(reader, 128 * 1024)
            for protocol, bytes_before in list(unread.items()):
                protocol._check_write_progress(bytes_before)
        assert api.app.state.services.hub._feeds
        while len(reader.seqs) < EVENTS:
            assert await reader.read(2**18)

    assert reader.seqs == list(range(1, EVENTS + 1))


async def read_some(reader: RawReader, size: int) -> None:
    while size > 0:
        size -= await reader.read(size)


async def test_a_client_that_sends_no_pong_is_closed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_protocol, "_PONG_SECONDS", 0.2)
    job_id = str((await api.submit("noop", run_at="2100-01-01T00:00:00Z"))["id"])

    async with raw_reader(api, socket_path(job_id), upgrade=True) as reader:
        await reader.read_all()

    assert reader.close_code == TRY_AGAIN_LATER


async def test_a_slow_client_skips_progress_frames_and_gets_the_newest(
    api: Api, database: StatementPool
) -> None:
    job_id = await job_with_long_history(api, database)
    hub = api.app.state.services.hub

    async with open_socket(f"{api.ws}{socket_path(job_id)}?after={EVENTS}") as client:
        assert msgspec.json.decode(await client.recv())["type"] == "hello"
        await until(lambda: bool(hub._feeds))
        (feed,) = hub._feeds.values()
        for number in range(1, MANY):
            feed.update_progress(1, number / MANY, b'{"type":"progress","n":%d}' % number)
            await asyncio.sleep(0)
        received: list[dict[str, int]] = []
        while not received or received[-1]["n"] < MANY - 1:
            received.append(msgspec.json.decode(await client.recv()))

    assert sum(frame.get("skipped", 0) for frame in received) + len(received) == MANY - 1
    assert len(received) < MANY / 2


async def test_a_client_that_stops_reading_a_quiet_stream_gets_a_1013_close(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_PONG_SECONDS", "_KEEPALIVE_SECONDS", "_KEEPALIVE_PONG_SECONDS"):
        monkeypatch.setattr(websocket_protocol, name, 0.5)
    job_id = str((await api.submit("noop", run_at="2100-01-01T00:00:00Z"))["id"])
    hub = api.app.state.services.hub

    async with open_socket(f"{api.ws}{socket_path(job_id)}", max_queue=1) as client:
        await client.recv()
        for _ in range(PINGS):
            # The service replies with pongs that the client does not read.
            await client.send('{"type":"ping"}')
        await until(lambda: not hub._feeds)
        async with asyncio.timeout(PATIENCE_SECONDS):
            with suppress(ConnectionClosed):
                while True:
                    await client.recv()

    assert client.close_code == TRY_AGAIN_LATER


async def test_a_blocked_reader_uses_little_memory(api: Api, database: StatementPool) -> None:
    job_id = await job_with_long_history(api, database)

    async with AsyncExitStack() as stack:

        async def join() -> None:
            await stack.enter_async_context(raw_reader(api, socket_path(job_id), upgrade=True))

        # The first watcher creates what all watchers share: the feed, connections to PostgreSQL, caches.
        await join()
        await until(lambda: len(blocked(api)) == 1)
        gc.collect()
        tracemalloc.start()
        for _ in range(READERS):
            await join()
        await until(lambda: len(blocked(api)) == READERS + 1)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert held / READERS < MAX_BYTES
