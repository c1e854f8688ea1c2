"""Clients of a job's stream over three transports, which disconnect at random and reconnect to any server.

They do not use the project's client libraries, and record the frames exactly as a server sent them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from random import Random
from typing import Final

import httpx
import msgspec
import websockets
from msgspec import Struct
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, WebSocketException

from conformance.watchers import blocks
from faults.stream_judge import UNKNOWN_STATE, ClientConnection, ClientRecord

TIMEOUT_SECONDS: Final = 240.0
REFUSALS: Final = (503,)
_MAX_CONNECTIONS: Final = 1_000
_PATIENCE_FACTOR: Final = 1.2
# 1001 and 1012: the server stops; 1013: come back later. Others are for clients that did something wrong.
_COME_BACK: Final = frozenset({1001, 1012, 1013})


class _FrameHead(Struct):
    """The fields of a frame that decide how a client handles it."""

    type: str
    seq: int | None = None
    state: str = ""
    retry_after: float = 0.0


class _Page(Struct):
    items: list[msgspec.Raw]


class _Job(Struct):
    state: str
    event_seq: int
    finished_at: str | None


_read_head: Final = msgspec.json.Decoder(_FrameHead).decode
_read_batch: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_page: Final = msgspec.json.Decoder(_Page).decode
_read_job: Final = msgspec.json.Decoder(_Job).decode


class StreamClient:
    """Watches one job until the end frame or a timeout, and keeps all frames in `record`.

    A steady client stays connected until the server closes. *http* belongs to this client only, because
    requests that are left in the middle wear out a connection pool. It comes back after the statuses in
    *refusals*; others are oddities.
    """

    def __init__(
        self,
        record: ClientRecord,
        addresses: Sequence[str],
        http: httpx.AsyncClient,
        random_source: Random,
        *,
        is_steady: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
        refusals: Collection[int] = REFUSALS,
    ) -> None:
        self.record = record
        self._transport = TRANSPORTS[record.transport]
        self._addresses = addresses
        self._is_steady = is_steady
        self._timeout_seconds = timeout_seconds
        self._refusals = refusals
        self._patience = 1.0
        self.http = http
        self.random_source = random_source

    @property
    def path(self) -> str:
        return f"/api/v1/jobs/{self.record.job_id}"

    async def watch(self) -> None:
        """Connect and reconnect until the end; the judge reports a missing end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_seconds):
                await asyncio.sleep(0 if self._is_steady else self.random_source.uniform(0, 0.5))
                for _ in range(_MAX_CONNECTIONS):
                    connection = ClientConnection(self.record.last_seq)
                    self.record.connections.append(connection)
                    await self._connect_once(connection)
                    if connection.end is not None:
                        return
                    pause = connection.pause_seconds
                    await asyncio.sleep(self.random_source.uniform(0.01, 0.3) if pause is None else pause)

    def on_frame(self, connection: ClientConnection, frame: bytes, number: int | None = None) -> None:
        """Record a frame; *number* is the event number that the transport gives beside the body."""
        head = _read_head(frame)
        if connection.end is not None:
            self.record.oddities.append(f"{head.type} after the end")
        elif head.seq is not None:
            connection.events.append((head.seq if number is None else number, frame))
        elif head.type == "end":
            self.finish(connection, head.state)
        elif head.type == "bye":
            connection.pause_seconds = head.retry_after

    def finish(self, connection: ClientConnection, state: str) -> None:
        connection.end, connection.closed_at = state, time.time()

    def check_status(self, connection: ClientConnection, response: httpx.Response) -> bool:
        """Return whether the response has status 200, and record an unexpected status."""
        if response.status_code == 200:
            connection.opened_at = connection.opened_at or time.time()
            return True
        if response.status_code not in self._refusals:
            self.record.oddities.append(f"answered with {response.status_code}")
        return False

    async def _connect_once(self, connection: ClientConnection) -> None:
        """Stay connected until the end, a random timeout, or an error."""
        seconds = self._timeout_seconds
        if not self._is_steady:
            seconds = self.random_source.uniform(0.05, 1.5) * self._patience
        try:
            async with asyncio.timeout(seconds):
                connection.address = self.random_source.choice(self._addresses)
                await self._transport(self, connection.address, connection)
        except TimeoutError:
            connection.is_abandoned = connection.opened_at is not None and connection.end is None
        except ConnectionClosedError as error:
            if error.rcvd is not None and error.rcvd.code not in _COME_BACK:
                self.record.oddities.append(f"closed with {error.rcvd.code} {error.rcvd.reason}")
        except (OSError, EOFError, WebSocketException, httpx.TransportError):
            # The server is down or was killed: the judge reports events that were lost by it.
            pass
        finally:
            if connection.end is None:
                connection.closed_at = time.time()
            # On a machine so slow that no answer arrives in time, reconnecting alone would keep it busy.
            self._patience = 1.0 if connection.events else self._patience * _PATIENCE_FACTOR


async def socket(client: StreamClient, address: str, connection: ClientConnection) -> None:
    """WS /jobs/{id}/ws; some clients request batches, some leave without a close frame."""
    query = f"?after={connection.after}" + client.random_source.choice(["", "&batch=true"])
    url = address.replace("http", "ws", 1) + f"{client.path}/ws{query}"
    async with websockets.connect(url, max_size=None, proxy=None, close_timeout=1) as websocket:
        connection.opened_at = time.time()
        try:
            while True:
                message = await websocket.recv(decode=False)
                is_batch = message.startswith(b"[")
                for frame in _read_batch(message) if is_batch else [message]:
                    client.on_frame(connection, bytes(frame))
        except ConnectionClosedOK as error:
            if connection.end is None and error.rcvd is not None and error.rcvd.code == 1000:
                client.record.oddities.append("closed with 1000 before the end")
        except asyncio.CancelledError:
            if client.random_source.random() < 0.5:
                websocket.transport.abort()
            raise


async def server_events(client: StreamClient, address: str, connection: ClientConnection) -> None:
    """GET /jobs/{id}/stream."""
    headers = {"Last-Event-ID": str(connection.after)} if connection.after else {}
    async with client.http.stream("GET", f"{address}{client.path}/stream", headers=headers) as response:
        if response.status_code == 204:
            connection.opened_at = time.time()
            client.finish(connection, UNKNOWN_STATE)
        elif client.check_status(connection, response):
            async for block in blocks(response):
                fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
                number = fields.get(b"id")
                client.on_frame(connection, fields[b"data"], None if number is None else int(number))


async def polling(client: StreamClient, address: str, connection: ClientConnection) -> None:
    """GET /jobs/{id}/events repeatedly, until the job is final."""
    while connection.end is None:
        last_seq = client.record.last_seq
        response = await client.http.get(f"{address}{client.path}/events?limit=1000&after={last_seq}")
        if not client.check_status(connection, response):
            return
        page = _read_page(response.content)
        for item in page.items:
            client.on_frame(connection, bytes(item))
        if not page.items:
            response = await client.http.get(f"{address}{client.path}")
            if not client.check_status(connection, response):
                return
            job = _read_job(response.content)
            if job.finished_at is not None and job.event_seq == last_seq:
                client.finish(connection, job.state)
        await asyncio.sleep(client.random_source.uniform(0.2, 0.6))


Transport = Callable[[StreamClient, str, ClientConnection], Awaitable[None]]
TRANSPORTS: Final[dict[str, Transport]] = {"socket": socket, "events": server_events, "polling": polling}
