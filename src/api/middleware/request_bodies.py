"""Reads the bodies of requests: each within the limit of its route, and decoded without blocking the loop."""

from collections.abc import AsyncGenerator
from typing import Any, Final

from litestar import Request
from litestar.serialization import decode_json

from headrace.api.errors import BodyTooLargeError
from headrace.domain.heavy_work import HeavyWork
from headrace.domain.json_costs import EASY_COST, MAX_COST, decoding_cost
from headrace.domain.json_limits import (
    MAX_JSON_BYTES,
    MAX_JSON_DEPTH,
    NestedTooDeepError,
    NulCharacterError,
    has_nul,
    is_nested_deeper,
)
from headrace.domain.json_pieces import decode_in_pieces

# The limits of routes in bytes: the `max_body` of a handler. `HEADRACE_MAX_BODY_BYTES` limits all of them.
SMALL_BODY: Final = 4 * 1024
"""A few short texts. Handlers without `max_body` have this limit."""
VALUE_BODY: Final = 4 * MAX_JSON_BYTES
"""`params` or `meta`: each byte of a text can take three if it is written as an escape."""
JOB_BODY: Final = 2 * VALUE_BODY
"""`params` and `meta`."""
QUERY_BODY: Final = 1024 * 1024
"""A GraphQL query of 100,000 characters, written as escapes, and its variables."""
ANY_BODY: Final = 1 << 62
"""Several jobs: only the setting limits them."""

# Finding out what such a text costs already takes a turn. A larger one is always decoded in pieces.
_LARGE_BYTES: Final = 128 * 1024
_HUGE_BYTES: Final = 1024 * 1024


class BodyRequest(Request[Any, Any, Any]):
    """A request whose body has the limit of its route, and whose JSON has limits of depth and cost."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the body.

        Raises:
            BodyTooLargeError: the body is larger than the route allows.
        """
        if "is_upload" in self.route_handler.opt:
            # It has a limit of its own.
            async for chunk in super().stream():
                yield chunk
            return
        limit = min(
            self.route_handler.opt.get("max_body", SMALL_BODY),
            self.app.state.services.settings.max_body_bytes,
        )
        if (self.content_length or 0) > limit:
            raise BodyTooLargeError(limit)
        bytes_read = 0
        async for chunk in super().stream():
            bytes_read += len(chunk)
            if bytes_read > limit:
                raise BodyTooLargeError(limit)
            yield chunk

    async def json(self) -> Any:
        """Return the decoded body.

        Raises:
            NestedTooDeepError, NulCharacterError, JsonTooCostlyError: the body exceeds a limit of JSON.
            SerializationException: the body is not JSON.
        """
        return await decode_body(await self.body() or b"null", self.app.state.services.heavy_work)


async def decode_body(raw: bytes, heavy_work: HeavyWork) -> Any:
    """Decode a body: at once if that is easy, in turns with those of other requests if it is not.

    Raises:
        NestedTooDeepError, NulCharacterError, JsonTooCostlyError: the body exceeds a limit of JSON.
        SerializationException: the body is not JSON.
    """
    if len(raw) > _LARGE_BYTES:
        await heavy_work.take_turn()
    cost = decoding_cost(raw) if len(raw) <= _HUGE_BYTES else MAX_COST + 1
    if cost > MAX_COST:
        return await heavy_work.run_in_turns(decode_in_pieces(raw, decode_json))
    if cost > EASY_COST:
        await heavy_work.take_turn()
    has_forbidden_nul, is_too_deep = has_nul(raw), is_nested_deeper(raw, MAX_JSON_DEPTH)
    if cost > EASY_COST:
        await heavy_work.take_turn()
    # A text that is not JSON is refused as such.
    value = decode_json(raw)
    if has_forbidden_nul or is_too_deep:
        raise NestedTooDeepError if is_too_deep else NulCharacterError
    if cost > EASY_COST:
        await heavy_work.take_turn()
    return value
