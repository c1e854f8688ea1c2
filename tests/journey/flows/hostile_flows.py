"""Steps that misbehave, for the journeys."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct

from headrace import PermanentError, Pipeline, StepContext, step


class Params(Struct):
    case: str = ""


class OutError(BaseException):
    """An error that is neither an `Exception` nor raised by Python itself."""


@step(retries=0, runs_in="process")
def leave_a_fork(context: StepContext[Params]) -> None:
    """Safe to run again: it dies again, and its fork keeps every file open, for longer than a test waits."""
    fork = os.fork()
    if fork == 0:
        time.sleep(600)
        os._exit(0)
    Path(context.params.case).write_text(str(fork))
    os._exit(9)


@step(retries=0, runs_in="process")
def start_another(context: StepContext[Params]) -> None:
    """Safe to run again: it only waits, with a child process."""
    child = subprocess.Popen(["sleep", "300"], stdin=subprocess.DEVNULL)
    Path(context.params.case).write_text(f"{os.getpid()} {child.pid}\n")
    time.sleep(300)


@step(retries=0, runs_in="process")
def close_output(context: StepContext[Params]) -> str:
    """Safe to run again: its output goes nowhere."""
    if context.params.case == "closed":
        sys.stdout.close()
        sys.stderr.close()
    else:
        sys.stdout = sys.stderr = None
    return "said"


@step(retries=0, runs_in="process")
def raise_from_process(context: StepContext[Params]) -> None:
    """Safe to run again: it fails the same way."""
    raise {
        "surrogates": ValueError("half a \udcff character"),
        "numbered": PermanentError("a code that is no text", code=5),  # type: ignore[arg-type]
    }[context.params.case]


@step(retries=0)
async def save_in_loop(context: StepContext[Params]) -> str:
    """Safe to run again: the file is replaced."""
    return str(await context.save_file("a.bin", odd_content(context.params.case), "text/plain"))


@step(retries=0, runs_in="process")
def save_in_process(context: StepContext[Params]) -> str:
    """Safe to run again: the file is replaced."""
    return str(context.save_file("a.bin", odd_content(context.params.case), "text/plain"))


@step(retries=0)
async def handle_error_in_loop(context: StepContext[Params]) -> int | None:
    """Safe to run again: nothing is saved."""
    try:
        await context.save_file("a.bin", context.scratch, "text/plain")
    except IsADirectoryError as error:
        return error.errno
    return None


@step(retries=0, runs_in="process")
def handle_error_in_process(context: StepContext[Params]) -> int | None:
    """Safe to run again: nothing is saved."""
    try:
        context.save_file("a.bin", context.scratch, "text/plain")
    except IsADirectoryError as error:
        return error.errno
    return None


def odd_content(case: str) -> Any:
    return {"bytearray": bytearray(b"abc"), "memoryview": memoryview(b"abc"), "number": 5}[case]


@step(retries=0)
async def log_oddly(context: StepContext[Params]) -> str:
    """Safe to run again: it logs again."""
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    await context.log("odd", level=["warning"], huge=10**5000, deep=deep)  # type: ignore[arg-type]
    return "logged"


@step(retries=0, timeout=timedelta(seconds=0.2), grace=timedelta(seconds=0.1))
async def cling(context: StepContext[Params]) -> None:
    """Safe to run again: it ignores its cancellation again."""
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)


def odd_items(params: Params) -> list[str]:
    if params.case.startswith("/"):
        while not Path(params.case).exists():
            time.sleep(0.02)
        return ["late"]
    raise {"plain_base": OutError("out"), "exits": SystemExit(2), "cancels": asyncio.CancelledError()}[
        params.case
    ]


@step
async def take(context: StepContext[Params], item: str) -> str:
    """Safe to run again: it computes nothing."""
    return item


def alone(name: str, function: Any) -> Pipeline:
    pipeline = Pipeline(name, version=1, params=Params)
    pipeline.add(function, result=True)
    return pipeline


forking = alone("forking", leave_a_fork)
starting = alone("starting", start_another)
closing = alone("closing", close_output)
raising = alone("raising", raise_from_process)
saving_loop = alone("saving_loop", save_in_loop)
saving_process = alone("saving_process", save_in_process)
handling_loop = alone("handling_loop", handle_error_in_loop)
handling_process = alone("handling_process", handle_error_in_process)
logging_oddly = alone("logging_oddly", log_oddly)
clinging = alone("clinging", cling)
odd_itemed = Pipeline("odd_itemed", version=1, params=Params)
odd_itemed.add(take, for_each=odd_items, result=True)
