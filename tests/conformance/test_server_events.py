"""The parts that only server-sent events have: event ids, and the header that a browser sends back."""

import asyncio

import msgspec

from conformance.service import History, Service
from conformance.watchers import blocks
from support.patience import PATIENCE_SECONDS


async def test_only_events_have_an_id_and_it_is_their_number(service: Service, history: History) -> None:
    url = f"/api/v1/jobs/{history.job_id}/stream"
    async with asyncio.timeout(PATIENCE_SECONDS), service.api.http.stream("GET", url) as response:
        seen = [dict(line.split(b": ", 1) for line in block.split(b"\n")) async for block in blocks(response)]

    for block in seen:
        number = msgspec.json.decode(block[b"data"]).get("seq")
        assert block.get(b"id") == (None if number is None else str(number).encode())


async def test_last_event_id_overrides_the_cursor(service: Service, history: History) -> None:
    url = f"/api/v1/jobs/{history.job_id}/stream?after=0"
    last = len(history.events) - 1
    headers = {"Last-Event-ID": str(last)}
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        service.api.http.stream("GET", url, headers=headers) as response,
    ):
        seen = [block async for block in blocks(response)]

    assert [b"\nid: " in b"\n" + block for block in seen] == [False, True, False]
    assert seen[1] == b"id: %d\ndata: %b" % (last + 1, history.events[-1])


async def test_the_stream_of_a_finished_job_at_its_head_is_204(service: Service, history: History) -> None:
    response = await service.api.http.get(
        f"/api/v1/jobs/{history.job_id}/stream", params={"after": len(history.events)}
    )

    assert (response.status_code, response.content) == (204, b"")
