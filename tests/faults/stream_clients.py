"""Clients of a job's stream over three transports, which leave as dice fall, hop, and come back.

They know nothing of the clients that the project gives away: what they note is what a server sent.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Final

import httpx
import msgspec
import websockets
from msgspec import Struct
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, WebSocketException

from conformance.watchers import blocks
from faults.stream_judge import UNSAID, Stay, Told

_PATIENCE_SECONDS: Final = 60.0
_MOST_STAYS: Final = 1_000
# 1001 and 1012: the server stops; 1013: come back later. Others are for clients that did something wrong.
_COME_BACK: Final = frozenset({1001, 1012, 1013})


class _Said(Struct):
    """What of a frame decides how it is taken."""

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


_read_said: Final = msgspec.json.Decoder(_Said).decode
_read_batch: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_page: Final = msgspec.json.Decoder(_Page).decode
_read_job: Final = msgspec.json.Decoder(_Job).decode


class StreamClient:
    """Watches one job until it is told the end, or has no patience any more; notes all in `told`.

    A steady one stays until the server parts. *http* is its own: who leaves in the middle wears out a pool.
    """

    def __init__(
        self,
        told: Told,
        addresses: Sequence[str],
        http: httpx.AsyncClient,
        dice: Random,
        *,
        is_steady: bool = False,
    ) -> None:
        self.told = told
        self._carry = TRANSPORTS[told.transport]
        self._addresses = addresses
        self._is_steady = is_steady
        self.http = http
        self.dice = dice

    @property
    def path(self) -> str:
        return f"/api/v1/jobs/{self.told.job_id}"

    async def watch(self) -> None:
        """Come, and come back, until the end; the judge sees when there was none."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await asyncio.sleep(0 if self._is_steady else self.dice.uniform(0, 0.5))
                for _ in range(_MOST_STAYS):
                    stay = Stay(self.told.newest)
                    self.told.stays.append(stay)
                    await self._stay(stay)
                    if stay.end is not None:
                        return
                    pause = stay.pause_seconds
                    await asyncio.sleep(self.dice.uniform(0.01, 0.3) if pause is None else pause)

    def hear(self, stay: Stay, frame: bytes, number: int | None = None) -> None:
        """Note a frame; *number* is what the transport says of it, beside its body."""
        said = _read_said(frame)
        if stay.end is not None:
            self.told.oddities.append(f"{said.type} after the end")
        elif said.seq is not None:
            stay.events.append((said.seq if number is None else number, frame))
        elif said.type == "end":
            self.finish(stay, said.state)
        elif said.type == "bye":
            stay.pause_seconds = said.retry_after

    def finish(self, stay: Stay, state: str) -> None:
        stay.end, stay.over_at = state, time.time()

    def may_read(self, stay: Stay, answer: httpx.Response) -> bool:
        """Whether this is the answer that was asked for."""
        if answer.status_code == 200:
            stay.opened_at = stay.opened_at or time.time()
            return True
        if answer.status_code != 503:
            self.told.oddities.append(f"answered with {answer.status_code}")
        return False

    async def _stay(self, stay: Stay) -> None:
        """One connection, for a while."""
        seconds = _PATIENCE_SECONDS if self._is_steady else self.dice.uniform(0.05, 1.5)
        try:
            async with asyncio.timeout(seconds):
                stay.address = self.dice.choice(self._addresses)
                await self._carry(self, stay.address, stay)
        except TimeoutError:
            self.told.left += stay.opened_at is not None and stay.end is None
        except ConnectionClosedError as error:
            if error.rcvd is not None and error.rcvd.code not in _COME_BACK:
                self.told.oddities.append(f"closed with {error.rcvd.code} {error.rcvd.reason}")
        except (OSError, EOFError, WebSocketException, httpx.TransportError):
            # Nobody is there, or the server was killed: the judge sees what was lost by it.
            pass
        finally:
            if stay.end is None:
                stay.over_at = time.time()


async def socket(client: StreamClient, address: str, stay: Stay) -> None:
    """WS /jobs/{id}/ws; some ask for batches, some leave without a word."""
    query = f"?after={stay.after}" + client.dice.choice(["", "&batch=true"])
    url = address.replace("http", "ws", 1) + f"{client.path}/ws{query}"
    async with websockets.connect(url, max_size=None, proxy=None, close_timeout=1) as connection:
        stay.opened_at = time.time()
        try:
            while True:
                message = await connection.recv(decode=False)
                is_batch = message.startswith(b"[")
                for frame in _read_batch(message) if is_batch else [message]:
                    client.hear(stay, bytes(frame))
        except ConnectionClosedOK as error:
            if stay.end is None and error.rcvd is not None and error.rcvd.code == 1000:
                client.told.oddities.append("closed with 1000 before the end")
        except asyncio.CancelledError:
            if client.dice.random() < 0.5:
                connection.transport.abort()
            raise


async def server_events(client: StreamClient, address: str, stay: Stay) -> None:
    """GET /jobs/{id}/stream."""
    headers = {"Last-Event-ID": str(stay.after)} if stay.after else {}
    async with client.http.stream("GET", f"{address}{client.path}/stream", headers=headers) as answer:
        if answer.status_code == 204:
            stay.opened_at = time.time()
            client.finish(stay, UNSAID)
        elif client.may_read(stay, answer):
            async for block in blocks(answer):
                fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
                number = fields.get(b"id")
                client.hear(stay, fields[b"data"], None if number is None else int(number))


async def polling(client: StreamClient, address: str, stay: Stay) -> None:
    """GET /jobs/{id}/events, again and again; the job says when it is over."""
    while stay.end is None:
        newest = client.told.newest
        answer = await client.http.get(f"{address}{client.path}/events?limit=1000&after={newest}")
        if not client.may_read(stay, answer):
            return
        page = _read_page(answer.content)
        for item in page.items:
            client.hear(stay, bytes(item))
        if not page.items:
            answer = await client.http.get(f"{address}{client.path}")
            if not client.may_read(stay, answer):
                return
            job = _read_job(answer.content)
            if job.finished_at is not None and job.event_seq == newest:
                client.finish(stay, job.state)
        await asyncio.sleep(client.dice.uniform(0.2, 0.6))


Transport = Callable[[StreamClient, str, Stay], Awaitable[None]]
TRANSPORTS: Final[dict[str, Transport]] = {"socket": socket, "events": server_events, "polling": polling}
