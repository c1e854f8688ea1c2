"""Large bodies are compressed and hashed piece by piece; what comes in several messages passes unchanged."""

import gzip
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from litestar.enums import ScopeType

from headrace.api.middleware.head_requests import with_head
from headrace.api.middleware.response_bodies import ResponseBodiesMiddleware

PIECE = 64 * 1024


class CountedTurns:
    """Counts the turns that a response has waited for."""

    def __init__(self) -> None:
        self.turns = 0

    async def take_turn(self) -> None:
        self.turns += 1


async def answer(
    body: bytes, *, opt: dict[str, Any], headers: dict[str, str], pieces: int = 1
) -> tuple[dict[bytes, bytes], bytes, int]:
    """Send *body* through the middleware. Return the headers and the body that come out, and the turns."""
    work, sent = CountedTurns(), list[Any]()
    step = len(body) // pieces

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        kind, length = (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [kind, length]})
        for index in range(pieces):
            part = body[index * step : (index + 1) * step]
            await send({"type": "http.response.body", "body": part, "more_body": index < pieces - 1})

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": ScopeType.HTTP,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "route_handler": SimpleNamespace(opt=opt),
        "litestar_app": SimpleNamespace(state=SimpleNamespace(services=SimpleNamespace(heavy_work=work))),
    }
    await ResponseBodiesMiddleware(application)(scope, None, send)  # type: ignore[arg-type]
    return dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:]), work.turns


async def test_each_piece_of_a_large_body_waits_for_its_turn() -> None:
    body = msgspec.json.encode(list(range(300_000)))

    headers, compressed, turns = await answer(body, opt={"tagged": True}, headers={"accept-encoding": "gzip"})

    assert gzip.decompress(compressed) == body
    assert headers[b"content-length"] == b"%d" % len(compressed)
    # Once for its entity tag, and once to compress it.
    assert turns == 2 * ((len(body) - 1) // PIECE)


async def test_a_body_of_one_piece_waits_for_no_turn() -> None:
    body = b"[" + b" " * 2000 + b"]"

    headers, compressed, turns = await answer(body, opt={}, headers={"accept-encoding": "gzip"})

    assert (gzip.decompress(compressed), headers[b"content-encoding"], turns) == (body, b"gzip", 0)


@pytest.mark.parametrize("opt", [{}, {"tagged": True}])
async def test_a_response_in_several_messages_passes_unchanged(opt: dict[str, Any]) -> None:
    body = b"x" * 9000

    headers, sent, _ = await answer(body, opt=opt, headers={"accept-encoding": "gzip"}, pieces=3)

    assert (sent, set(headers)) == (body, {b"content-type", b"content-length"})


async def test_equal_bodies_have_equal_tags_and_others_have_others() -> None:
    tags = [(await answer(body, opt={"tagged": True}, headers={}))[0][b"etag"] for body in (b"1", b"1", b"2")]

    assert tags[0] == tags[1] != tags[2]
    assert tags[0].startswith(b'W/"')


@pytest.mark.parametrize(
    ("allowed", "shown"),
    [
        (b"GET, OPTIONS", b"GET, HEAD, OPTIONS"),
        (b"GET,HEAD", b"GET, HEAD"),
        (b"OPTIONS, POST", b"OPTIONS, POST"),
    ],
)
def test_head_is_allowed_where_get_is(allowed: bytes, shown: bytes) -> None:
    assert with_head(allowed) == shown
