"""Pipelines that record each step entry in an outside ledger, and pipelines that harm their worker."""

import asyncio
import os
import resource
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct

from headrace import Pipeline, RetryableError, StepContext, step


class Relay(Struct):
    """*dies_in* is the step run that kills its worker, in every attempt up to *deaths*.

    *hold_seconds* is how long a step in the middle takes. It takes *first_hold_seconds* more in the first
    attempt, and every step takes *later_hold_seconds* more in later ones.
    It saves a file *saves* times before and after that, with the same bytes in every attempt.
    Before all that, it waits until the file *gate* exists.
    """

    ledger: str
    items: int = 3
    hold_seconds: float = 0.0
    first_hold_seconds: float = 0.0
    later_hold_seconds: float = 0.0
    dies_in: str = ""
    deaths: int = 1
    saves: int = 0
    gate: str = ""


class Poison(Struct):
    case: str


class Talk(Struct):
    lines: int = 4
    seconds: float = 1.0


def enter(context: StepContext[Relay], run: str) -> None:
    """Append a line to the ledger in a single write, because other processes also write to it."""
    line = f"{context.job_id} {run} {context.attempt}\n".encode()
    ledger = os.open(context.params.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(ledger, line)
    finally:
        os.close(ledger)
    if context.params.dies_in == run and context.attempt <= context.params.deaths:
        os.kill(worker_above(os.getpid()), signal.SIGKILL)


def worker_above(pid: int) -> int:
    """Return the worker that runs in process *pid*, or in one of those that started it."""
    while b"--alone" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


def hold_seconds(context: StepContext[Relay]) -> float:
    """Return how long a step in the middle takes in this attempt."""
    params = context.params
    return params.hold_seconds + (params.first_hold_seconds if context.attempt == 1 else 0.0)


async def pass_gate(context: StepContext[Relay]) -> None:
    """Wait until the gate is open, if there is one."""
    gate = context.params.gate
    async with asyncio.timeout(3_600):
        while gate and not is_open(gate):
            await asyncio.sleep(0.05)


def is_open(gate: str) -> bool:
    return Path(gate).exists()


async def linger(context: StepContext[Relay], seconds: float = 0.0) -> None:
    await asyncio.sleep(seconds if context.attempt == 1 else seconds + context.params.later_hold_seconds)


@step
async def begin(context: StepContext[Relay]) -> str:
    """Safe to run again: its entry is counted."""
    enter(context, "begin")
    await linger(context)
    return "begun"


@step
async def carry(context: StepContext[Relay], number: int) -> int:
    """Safe to run again: its entry is counted."""
    enter(context, f"carry[{number}]")
    await pass_gate(context)
    for _ in range(context.params.saves):
        await context.save_file("carried", f"number {number}".encode(), "text/plain")
    await linger(context, hold_seconds(context))
    for _ in range(context.params.saves):
        await context.save_file("carried", f"number {number}".encode(), "text/plain")
    return number


@step
async def finish(context: StepContext[Relay]) -> int:
    """Safe to run again: its entry is counted."""
    enter(context, "finish")
    await linger(context)
    return sum(await context.output(carried))


@step(runs_in="process", grace=timedelta(seconds=0.5))
def carry_apart(context: StepContext[Relay]) -> int:
    """Safe to run again: its entry is counted."""
    enter(context, "carry_apart")
    time.sleep(hold_seconds(context))
    return context.attempt


relay = Pipeline("relay", version=1, params=Relay)
begun = relay.add(begin)
carried = relay.add(carry, for_each=lambda params: range(params.items), after=begun)
relay.add(finish, after=carried, result=True)

relay_apart = Pipeline("relay_apart", version=1, params=Relay)
apart_begun = relay_apart.add(begin)
relay_apart.add(carry_apart, after=apart_begun, result=True)


@step
async def fail_at_first(context: StepContext[Relay]) -> int:
    """Safe to run again: its entry is counted."""
    enter(context, "fail_at_first")
    if context.attempt == 1:
        raise RetryableError("not yet", retry_after=1.5)
    return context.attempt


second_wind = Pipeline("second_wind", version=1, params=Relay)
second_wind.add(fail_at_first, result=True)


@step(retries=2)
async def always_raise(context: StepContext[Poison]) -> None:
    """Safe to run again: it raises again."""
    raise RetryableError("never well", retry_after=0.05)


@step
async def block(context: StepContext[Poison]) -> None:
    """Safe to run again: it blocks again."""
    time.sleep(3_600)  # noqa: ASYNC251  (that is the harm)


@step(retries=0)
async def return_oddly(context: StepContext[Poison]) -> Any:
    """Safe to run again: it returns a value that cannot be stored."""
    return object() if context.params.case == "unserialisable" else "x" * 100_000_000


@step(retries=0, runs_in="process", timeout=timedelta(seconds=1), grace=timedelta(seconds=0.2))
def never_yield(context: StepContext[Poison]) -> None:
    """Safe to run again: it loops forever in its own process."""
    while True:
        pass


@step(retries=1, runs_in="process")
def misbehave_apart(context: StepContext[Poison]) -> Any:
    """Safe to run again: it does the same harm to its own process."""
    if context.params.case == "exits":
        os._exit(3)
    if context.params.case == "eats_memory":
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        eaten = []
        while True:
            eaten.append(bytearray(1 << 26))
    return object() if context.params.case == "unserialisable" else "x" * 100_000_000


@step(runs_in="process")
def say_and_ask(context: StepContext[Poison]) -> None:
    """Safe to run again: it only requests a file that does not exist."""
    context.log("somebody there?")
    context.open_file(context.job_id)


@step
async def tell(context: StepContext[Talk]) -> int:
    """Safe to run again: it writes the same lines again."""
    lines = context.params.lines
    for number in range(1, lines + 1):
        await asyncio.sleep(context.params.seconds / lines)
        await context.log(f"line {number}: \u00fc\u2028\u20ac", number=number)
        await context.progress(number, lines)
    return lines


def alone(name: str, function: Any, params: type[Struct] = Poison) -> Pipeline:
    pipeline = Pipeline(name, version=1, params=params)
    pipeline.add(function, result=True)
    return pipeline


asking = alone("asking", say_and_ask)
raising = alone("raising", always_raise)
blocking = alone("blocking", block)
odd_output = alone("odd_output", return_oddly)
turning = alone("turning", never_yield)
misbehaving = alone("misbehaving", misbehave_apart)
talking = alone("talking", tell, Talk)
