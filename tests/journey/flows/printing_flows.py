"""Steps of all three kinds that print and log."""

import logging
import sys
import threading

from msgspec import Struct

from headrace import Pipeline, StepContext, step

logger = logging.getLogger("acme.reports")


class Params(Struct):
    pass


def say(kind: str) -> None:
    print(f"printed in a {kind}")
    print(f"an error in a {kind}", file=sys.stderr)
    print("10 %\r90 %\r100 %", end="")
    logger.warning("logged in a %s", kind)
    logger.debug("too detailed in a %s", kind)


@step
async def speak_in_loop(context: StepContext[Params]) -> None:
    say("loop")


@step(runs_in="thread")
def speak_in_thread(context: StepContext[Params]) -> None:
    say("thread")


@step(runs_in="process")
def speak_in_process(context: StepContext[Params]) -> None:
    speaker = threading.Thread(target=say, args=("process",))
    speaker.start()
    speaker.join()


speakers = Pipeline("speakers", params=Params)
for speaker in (speak_in_loop, speak_in_thread, speak_in_process):
    speakers.add(speaker)


@step
async def flood(context: StepContext[Params]) -> None:
    for number in range(1_200):
        print("line", number)


flooding = Pipeline("flooding", params=Params)
flooding.add(flood)
