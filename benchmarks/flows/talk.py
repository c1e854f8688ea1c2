"""Pipelines whose events carry the time they were sent: at a fixed pace, or as fast as the clients read."""

import asyncio
import mmap
import random
import time
from pathlib import Path
from struct import unpack_from

from msgspec import Struct

from headrace import Pipeline, StepContext, step

# Pads an event to the usual size.
_PAD = "x" * 160


class TalkParams(Struct):
    """*times* events and progress reports, *pause_seconds* apart."""

    times: int
    pause_seconds: float


class HotParams(Struct):
    """*board* is a file of two 8-byte numbers: a command (1: send, 2: end) and the events all clients got.

    With *per_second* the step keeps that pace, else it stays at most *in_flight* events ahead of the clients.
    """

    board: str
    in_flight: int
    per_second: float = 0.0


def stamp() -> str:
    """Return the time in ns of the monotonic clock, always with the same length."""
    return f"@{time.monotonic_ns():020d}{_PAD}"


@step
async def send_paced(context: StepContext[TalkParams]) -> None:
    """Safe to run again: it only sends events."""
    params = context.params
    # Spread jobs that start together.
    await asyncio.sleep(params.pause_seconds * random.random())  # noqa: S311
    for done in range(1, params.times + 1):
        await asyncio.sleep(params.pause_seconds)
        await context.log(stamp())
        await context.progress(done, params.times, stamp())


@step
async def send_fast(context: StepContext[HotParams]) -> None:
    """Safe to run again: it only sends events."""
    params = context.params
    with Path(params.board).open("rb") as opened:  # noqa: ASYNC230
        board = mmap.mmap(opened.fileno(), 16, prot=mmap.PROT_READ)
    sent, sending = 0, set()
    while (command := unpack_from("QQ", board))[0] != 2:
        if command[0] == 1 and (params.per_second or sent - command[1] < params.in_flight):
            sent += 1
            task = asyncio.create_task(context.log(stamp()))
            sending.add(task)
            task.add_done_callback(sending.discard)
            if params.per_second:
                await asyncio.sleep(1 / params.per_second)
        else:
            await asyncio.sleep(0.0005)
    await asyncio.gather(*sending)


talk = Pipeline("talk", version=1, params=TalkParams)
talk.add(send_paced)
hot = Pipeline("hot", version=1, params=HotParams)
hot.add(send_fast)
