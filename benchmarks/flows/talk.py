"""Steps that say when they spoke: one at its own pace, one as fast as its listeners follow."""

import asyncio
import mmap
import random
import time
from pathlib import Path
from struct import unpack_from

from msgspec import Struct

from headrace import Pipeline, StepContext, step

# So long is an event of the usual size.
_PAD = "x" * 160


class TalkParams(Struct):
    """*times* events and progress reports, *pause_seconds* apart."""

    times: int
    pause_seconds: float


class HotParams(Struct):
    """*board* holds two numbers of 8 bytes: the wish (1: speak, 2: end), and how many events all have heard.

    With *per_second* the step keeps to that pace, else *in_flight* events are ahead of the listeners.
    """

    board: str
    in_flight: int
    per_second: float = 0.0


def stamp() -> str:
    """The moment in ns of the machine's monotonic clock, always as long."""
    return f"@{time.monotonic_ns():020d}{_PAD}"


@step
async def speak(context: StepContext[TalkParams]) -> None:
    """Safe to run again: it only talks."""
    params = context.params
    # Jobs that begin together do not speak together.
    await asyncio.sleep(params.pause_seconds * random.random())  # noqa: S311
    for done in range(1, params.times + 1):
        await asyncio.sleep(params.pause_seconds)
        await context.log(stamp())
        await context.progress(done, params.times, stamp())


@step
async def speak_hot(context: StepContext[HotParams]) -> None:
    """Safe to run again: it only talks."""
    params = context.params
    with Path(params.board).open("rb") as opened:  # noqa: ASYNC230
        board = mmap.mmap(opened.fileno(), 16, prot=mmap.PROT_READ)
    said, sending = 0, set()
    while (wish := unpack_from("QQ", board))[0] != 2:
        if wish[0] == 1 and (params.per_second or said - wish[1] < params.in_flight):
            said += 1
            task = asyncio.create_task(context.log(stamp()))
            sending.add(task)
            task.add_done_callback(sending.discard)
            if params.per_second:
                await asyncio.sleep(1 / params.per_second)
        else:
            await asyncio.sleep(0.0005)
    await asyncio.gather(*sending)


talk = Pipeline("talk", version=1, params=TalkParams)
talk.add(speak)
hot = Pipeline("hot", version=1, params=HotParams)
hot.add(speak_hot)
