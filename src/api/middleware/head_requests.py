"""Answers HEAD on every route that has GET: with the headers of its response, and without its body."""

import asyncio
from typing import Any

from litestar.types import Message, Receive, Send


def as_get(scope: Any, receive: Receive, send: Send) -> tuple[Any, Receive, Send]:
    """Return what the application gets for a HEAD request: a GET whose client leaves once it has the headers.

    So an event stream or a download ends at once.
    """
    has_headers = asyncio.Event()

    async def receive_disconnect() -> Any:
        # Routes with GET read no body, so there is nothing to receive before.
        await has_headers.wait()
        return {"type": "http.disconnect"}

    async def send_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
        elif not has_headers.is_set():
            has_headers.set()
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    del receive
    return {**scope, "method": "GET"}, receive_disconnect, send_headers


def with_head(allowed: bytes) -> bytes:
    """Return the value of an `Allow` header with HEAD, if GET is in it."""
    methods = {method.strip() for method in allowed.split(b",")}
    return b", ".join(sorted(methods | {b"HEAD"} if b"GET" in methods else methods))
