"""Pipelines whose steps signal the worker that runs them, and a neighbour."""

import _thread
import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from msgspec import Struct

from headrace import Pipeline, StepContext, step


class Way(Struct):
    """*folder*: where a neighbour says that it was entered, and looks for its end."""

    way: str = ""
    folder: str = ""


def send_signal(way: str) -> None:
    match way:
        case "sigterm":
            os.kill(os.getpid(), signal.SIGTERM)
        case "sigint":
            signal.raise_signal(signal.SIGINT)
        case "interrupts":
            _thread.interrupt_main()
        case "group":
            os.killpg(0, signal.SIGTERM)
        case "child":
            subprocess.run(["sh", "-c", "kill -TERM $PPID"], check=True)


@step(retries=0)
async def signal_from_the_loop(context: StepContext[Way]) -> int:
    send_signal(context.params.way)
    await asyncio.sleep(0.2)  # the loop handles the signal meanwhile
    return context.attempt


@step(retries=0)
def signal_from_a_thread(context: StepContext[Way]) -> int:
    send_signal(context.params.way)
    time.sleep(0.2)
    return context.attempt


@step
async def wait_until_told(context: StepContext[Way]) -> int:
    folder = Path(context.params.folder)
    (folder / "entered").touch()
    while not (folder / "go").exists():
        await asyncio.sleep(0.05)
    return context.attempt


def only(name: str, function: Any) -> Pipeline:
    pipeline = Pipeline(name, params=Way)
    pipeline.add(function, result=True)
    return pipeline


signalling_loop = only("signalling_loop", signal_from_the_loop)
signalling_thread = only("signalling_thread", signal_from_a_thread)
neighbour = only("neighbour", wait_until_told)
