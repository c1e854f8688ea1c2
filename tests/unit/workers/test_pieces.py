"""Large texts pass between a worker and a child in pieces, so that the event loop goes on in between."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.json_limits import MAX_LOOP_CHARS
from headrace.workers.child import pieces, protocol
from headrace.workers.child.pieces import Pieces, cut
from headrace.workers.values import OutputError
from support.scripted_child import RUN_STEP, RecordingHost, start_scripted
from support.virtual_time import in_virtual_time, until_idle

LARGE = "ü" * (3 * MAX_LOOP_CHARS + 1)
MAX_BYTES = 4 * MAX_LOOP_CHARS + 100


class Turns:
    """The order of the turns of another task, and of the messages that are encoded or decoded."""

    def __init__(self) -> None:
        self.order: list[int | None] = []
        self._task: asyncio.Task[None] | None = None

    def recorded(self, function: Callable[[Any], Any], size_of: Callable[[Any, Any], int]) -> Any:
        def record(argument: Any) -> Any:
            result = function(argument)
            self.order.append(size_of(argument, result))
            return result

        return record

    async def __aenter__(self) -> "Turns":
        self._task = asyncio.create_task(self._take_turns())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()

    async def _take_turns(self) -> None:
        while True:
            self.order.append(None)
            await asyncio.sleep(0)

    def assert_others_had_turns(self, least_messages: int) -> None:
        sizes = [size for size in self.order if size is not None]
        assert max(sizes) <= MAX_BYTES
        large = [place for place, size in enumerate(self.order) if size is not None and size > MAX_LOOP_CHARS]
        assert len(large) >= least_messages
        for place, following in pairwise(large):
            assert None in self.order[place:following]


@in_virtual_time
async def test_others_run_while_a_worker_reads_a_large_output(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns()
    decode = turns.recorded(protocol.decode_for_worker, lambda body, _: len(body))
    monkeypatch.setattr(protocol, "decode_for_worker", decode)
    child, _, outcome = start_scripted()
    await child.receive()

    async with turns:
        await child.send(protocol.Done(LARGE))
        await child.exit(0)
        assert await outcome == LARGE

    turns.assert_others_had_turns(3)


@in_virtual_time
async def test_others_run_while_a_worker_sends_a_large_output(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns()
    monkeypatch.setattr(protocol, "encode", turns.recorded(protocol.encode, lambda _, encoded: len(encoded)))
    child, executor, _ = start_scripted(RecordingHost(outputs={"measure": LARGE}))
    await child.receive()

    async with turns:
        await child.send(protocol.GetOutput("measure"))
        reply = await child.receive()

    assert reply == protocol.Reply(LARGE)
    turns.assert_others_had_turns(3)
    await executor.kill()


@in_virtual_time
async def test_a_stop_during_a_large_item_follows_the_step() -> None:
    step = msgspec.structs.replace(RUN_STEP, item=LARGE)
    child, executor, _ = start_scripted(message=step)
    # The socket has less room than the item needs.
    await until_idle()
    executor.request_stop()

    assert await child.receive() == step
    assert await child.receive() == protocol.Stop()
    await executor.kill()


def test_a_stop_between_the_pieces_of_a_reply_is_received_at_once() -> None:
    joined = Pieces()
    *parts, last = cut(protocol.Reply(LARGE))

    received = [joined.join(message) for message in (*parts, protocol.Stop(), last)]

    assert received == [*([None] * len(parts)), protocol.Stop(), protocol.Reply(LARGE)]


@pytest.mark.parametrize("between", [(), (protocol.Entered(),)], ids=["alone", "with_others_between"])
@in_virtual_time
async def test_pieces_are_limited_together(between: tuple[protocol.Entered, ...]) -> None:
    child, _, outcome = start_scripted()
    await child.receive()

    async def send() -> None:
        for _ in range(2):
            await child.send(protocol.Piece("x" * (protocol.MAX_MESSAGE_BYTES // 2 + 1)))
            for message in between:
                await child.send(message)

    sending = asyncio.create_task(send())

    with pytest.raises(OutputError) as caught:
        await outcome
    assert caught.value.code == "output_too_large"
    await asyncio.wait({sending})


@pytest.mark.parametrize(
    "message",
    [
        protocol.Done("null"),
        protocol.Reply(None),
        protocol.Reply(3),
        RUN_STEP,
        protocol.Failed("error", "c", LARGE),
    ],
)
def test_a_message_without_a_large_text_is_one_part(message: Any) -> None:
    assert [*cut(message)] == [message]
    assert Pieces().join(message) == message


@given(st.text(max_size=40), st.integers(1, 9))
def test_a_text_of_any_length_is_put_together_as_it_was(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pieces, "MAX_LOOP_CHARS", size)
        joined = Pieces()
        for message in (protocol.Done(text), protocol.Done("null")):
            *before, last = [joined.join(part) for part in cut(message)]
            assert before == [None] * len(before)
            assert last == message
