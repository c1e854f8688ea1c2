"""Pipelines as a user would write them, for the journeys."""

import asyncio
import os
import threading
import time
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from msgspec import Raw, Struct

from headrace import PermanentError, Pipeline, StepContext, step


class NamesParams(Struct):
    names: list[str]
    input_file: UUID | None = None


class Greeting(Struct):
    text: str


class Summary(Struct):
    greetings: list[Greeting]
    file: UUID
    thread: str


@step
async def check(context: StepContext[NamesParams]) -> int:
    """Safe to run again: it counts."""
    await context.log("checking", count=len(context.params.names))
    return len(context.params.names)


@step(runs_in="process")
def greet(context: StepContext[NamesParams], name: str) -> Greeting:
    """Safe to run again: the file is replaced."""
    context.progress(1, 2, f"greeting {name}")
    (context.scratch / "note.txt").write_text(f"hello {name}")
    context.save_file(f"{name}.txt", context.scratch / "note.txt", "text/plain")
    context.log(f"greeted {name}", who=name)
    return Greeting(f"hello {name}, {context.output(checked)} in all")


@step(runs_in="thread")
def shout(context: StepContext[NamesParams], name: str) -> str:
    """Safe to run again: it only changes letters."""
    context.progress(1, 1)
    return name.upper()


@step(runs_in="thread")
def summarise(context: StepContext[NamesParams]) -> Summary:
    """Safe to run again: the file is replaced."""
    greetings: list[Greeting] = context.output(greeted)
    content = b"\n".join(greeting.text.encode() for greeting in greetings)
    if context.params.input_file is not None:
        with context.open_file(context.params.input_file) as opened:
            content += b"\n" + opened.read()
    saved = context.save_file("summary.txt", content, "text/plain")
    return Summary(greetings, saved, threading.current_thread().name)


names = Pipeline("names", version=1, params=NamesParams, description="Greets everybody.")
checked = names.add(check)
greeted = names.add(greet, for_each=lambda params: params.names, after=checked)
shouted = names.add(shout, for_each=lambda params: params.names, after=checked)
names.add(summarise, after=(greeted, shouted), result=True)


class CaseParams(Struct):
    case: str
    value: Any = None


class WordlessError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class PlainBaseError(BaseException):
    """An error that is neither an `Exception` nor raised by Python itself."""


RAISED: dict[str, BaseException] = {
    "plain_base": PlainBaseError("out"),
    "surrogates": ValueError("half a \udcff character"),
    "numbered": PermanentError("a code that is no text", code=5),  # type: ignore[arg-type]
    "permanent": PermanentError("the input is bad", code="bad_input"),
    "raises": ValueError("no such place"),
    "exits": SystemExit(3),
    "interrupts": KeyboardInterrupt(),
    "generator_exit": GeneratorExit(),
    "cancels": asyncio.CancelledError(),
    "stops": StopIteration(),
    "wordless": WordlessError(),
    "group": ExceptionGroup("two", [ValueError("a"), ValueError("b")]),
}
RETURNED: dict[str, Any] = {"unserialisable": object(), "too_large": "x" * 1_000_000, "nul": {"text": "a\0b"}}


@step(retries=0)
async def misbehave(context: StepContext[CaseParams]) -> Any:
    """Safe to run again: it fails the same way."""
    case, value = context.params.case, context.params.value
    if case in RAISED:
        raise RAISED[case]
    if case in RETURNED:
        return RETURNED[case]
    if case == "many_logs":
        for start in range(0, int(value), 60):
            await asyncio.gather(*(context.log(f"line {number}") for number in range(start, start + 60)))
    if case == "long_log":
        await context.log("x" * 20_000 + "\0")
    return value if case == "echo" else None


cases = Pipeline("cases", version=1, params=CaseParams)
cases.add(misbehave, result=True)


@step(retries=0, timeout=timedelta(seconds=0.3), grace=timedelta(seconds=0.3))
async def dawdle(context: StepContext[CaseParams]) -> None:
    """Safe to run again: it only waits."""
    await asyncio.sleep(30)


@step(retries=0, timeout=timedelta(seconds=0.3), grace=timedelta(seconds=0.3), runs_in="process")
def dawdle_in_process(context: StepContext[CaseParams]) -> None:
    """Safe to run again: it only waits, and ignores its cancellation."""
    time.sleep(30)


@step(retries=0, timeout=timedelta(seconds=0.3), grace=timedelta(seconds=0.3), runs_in="thread")
def dawdle_in_thread(context: StepContext[CaseParams]) -> None:
    """Safe to run again: it only waits, and ignores its cancellation."""
    time.sleep(3)


@step(retries=1, runs_in="process")
def vanish(context: StepContext[CaseParams]) -> None:
    """Safe to run again: its process ends again."""
    os._exit(3)


@step(retries=0, runs_in="thread")
def leave_thread(context: StepContext[CaseParams]) -> None:
    """Safe to run again: it ends in the same way."""
    raise RAISED[context.params.case]


@step(retries=0, runs_in="process")
def leave_process(context: StepContext[CaseParams]) -> None:
    """Safe to run again: it ends in the same way."""
    raise RAISED[context.params.case]


thread_leaver = Pipeline("thread_leaver", version=1, params=CaseParams)
thread_leaver.add(leave_thread)
process_leaver = Pipeline("process_leaver", version=1, params=CaseParams)
process_leaver.add(leave_process)
slow = Pipeline("slow", version=1, params=CaseParams)
slow.add(dawdle)
slow_process = Pipeline("slow_process", version=1, params=CaseParams)
slow_process.add(dawdle_in_process)
slow_thread = Pipeline("slow_thread", version=1, params=CaseParams)
slow_thread.add(dawdle_in_thread)
vanishing = Pipeline("vanishing", version=1, params=CaseParams)
vanishing.add(vanish)


class CountParams(Struct):
    """A file outside of the service; each entry into a step adds a line to it.

    The last step takes *hold_seconds* in the first attempt.
    """

    ledger: str
    steps: int = 3
    hold_seconds: float = 0.0


def enter(context: StepContext[CountParams], name: str) -> None:
    with Path(context.params.ledger).open("a") as ledger:
        ledger.write(f"{name}\n")


@step
async def first(context: StepContext[CountParams]) -> str:
    """Safe to run again: its entry is counted."""
    enter(context, "first")
    return "first"


@step
async def item(context: StepContext[CountParams], number: int) -> int:
    """Safe to run again: its entry is counted."""
    enter(context, f"item {number}")
    return number


@step
async def hold(context: StepContext[CountParams]) -> int:
    """Safe to run again: its entry is counted."""
    enter(context, "hold")
    if context.attempt == 1:
        await asyncio.sleep(context.params.hold_seconds)
    return sum(await context.output(counted))


counting = Pipeline("counting", version=1, params=CountParams)
began = counting.add(first)
counted = counting.add(item, for_each=lambda params: range(params.steps), after=began)
counting.add(hold, after=counted, result=True)


@step
async def report_oddly(context: StepContext[CaseParams]) -> None:
    """Safe to run again: it only logs odd values."""
    await context.progress(float("nan"), float("inf"), "a\0b\ud800")
    await context.progress(-1, 0, "x" * 10_000)
    await context.log("odd", big=2**70, odd=object(), nul="a\0b")
    await asyncio.sleep(float(context.params.value or 0))


@step(runs_in="process")
def report_oddly_in_process(context: StepContext[CaseParams]) -> None:
    """Safe to run again: it only logs odd values."""
    context.progress(float("nan"), float("inf"), "a\0b\ud800")
    context.log("odd\ud800", big=2**70, odd=object(), nul="a\0b")


odd = Pipeline("odd", version=1, params=CaseParams)
odd.add(report_oddly)
odd.add(report_oddly_in_process)


class RawItems(Struct):
    items: str


@step(retries=0)
async def take(context: StepContext[RawItems], greeting: int) -> int:
    """Safe to run again: it returns what it was given."""
    return greeting


def bad_items(params: RawItems) -> list[int]:
    raise ValueError("a\0b \ud800")


@step(retries=0)
async def raw(context: StepContext[RawItems]) -> Any:
    """Safe to run again: it returns what cannot be stored."""
    return Raw(context.params.items.encode())


itemless = Pipeline("itemless", version=1, params=RawItems)
itemless.add(take, for_each=bad_items)
rawish = Pipeline("rawish", version=1, params=RawItems)
rawish.add(raw, result=True)


class Entered(Struct):
    """The step creates the file *mark*.

    Listing the items creates the file `items` beside it, and waits for the file `go`.
    """

    mark: str
    fails: bool = False


def leave_mark(context: StepContext[Entered]) -> None:
    Path(context.params.mark).touch()


@step
async def mark(context: StepContext[Entered]) -> None:
    """Safe to run again: it creates an empty file."""
    leave_mark(context)


@step
async def take_one(context: StepContext[Entered], greeting: int) -> int:
    """Safe to run again: it returns what it was given."""
    return greeting


def slow_items(params: Entered) -> list[int]:
    Path(f"{params.mark}.items").touch()
    while not Path(f"{params.mark}.go").exists():
        time.sleep(0.02)
    if params.fails:
        raise ValueError("no items")
    return [1]


beside_items = Pipeline("beside_items", version=1, params=Entered)
beside_items.add(mark, after=())
beside_items.add(take_one, after=(), for_each=slow_items)


@step
async def report_once(context: StepContext[CaseParams]) -> None:
    """Safe to run again: it reports the same."""
    await context.progress(1, 2)
    await asyncio.sleep(600)


rarely = Pipeline("rarely", version=1, params=CaseParams)
rarely.add(report_once)


class OrderParams(Struct):
    price: Decimal
    due: datetime


class Invoice(Struct):
    total: Decimal
    due_year: int


@step
async def bill(context: StepContext[OrderParams]) -> Invoice:
    """Safe to run again: it calculates."""
    return Invoice(context.params.price * 3, context.params.due.year)


order = Pipeline("order", version=1, params=OrderParams)
order.add(bill, result=True)
