"""A pipeline that passes values on: as params, items and outputs, in each kind of step, over two attempts."""

from typing import Any

from msgspec import Struct

from headrace import Pipeline, RetryableError, StepContext, step


class Values(Struct):
    values: list[Any]


@step
async def in_the_loop(context: StepContext[Values]) -> list[Any]:
    return context.params.values


@step
def in_a_thread(context: StepContext[Values]) -> Any:
    return context.output(first)


@step(runs_in="process")
def in_a_process(context: StepContext[Values]) -> Any:
    return context.output(second)


@step
async def each(context: StepContext[Values], item: Any) -> Any:
    return item


@step(runs_in="process")
def each_apart(context: StepContext[Values], item: Any) -> Any:
    return item


@step
async def wait_for_the_next_attempt(context: StepContext[Values]) -> None:
    if context.attempt == 1:
        raise RetryableError("later", retry_after=1.2)


@step
async def collect(context: StepContext[Values]) -> dict[str, Any]:
    names = {"loop": first, "thread": second, "process": third, "each": fourth, "each_apart": fifth}
    return {name: await context.output(handle) for name, handle in names.items()}


values = Pipeline("values", params=Values)
first = values.add(in_the_loop)
second = values.add(in_a_thread)
third = values.add(in_a_process)
fourth = values.add(each, for_each=lambda params: params.values)
fifth = values.add(each_apart, for_each=lambda params: params.values)
values.add(wait_for_the_next_attempt)
values.add(collect, result=True)


@step(retries=3)
async def large(context: StepContext[Values], item: int) -> str:
    return "x" * 200_000


many_large = Pipeline("many_large", params=Values)
many_large.add(large, for_each=lambda params: range(200), result=False)

large_result = Pipeline("large_result", params=Values)
large_result.add(large, for_each=lambda params: range(200), result=True)

large_items = Pipeline("large_items", params=Values)
large_items.add(each, for_each=lambda params: ("x" * 100_000 for _ in range(10_000)))


@step
async def part(context: StepContext[Values], item: Any) -> Any:
    return None if item is None else "ü" * item


@step
async def after_parts(context: StepContext[Values]) -> int:
    return len(await context.output(parts))


parts_result = Pipeline("parts_result", params=Values)
parts = parts_result.add(part, for_each=lambda params: params.values, result=True)
parts_result.add(after_parts)


@step(retries=3)
async def mistaken(context: StepContext[Values]) -> dict[str, Any]:
    return "no object"  # type: ignore[return-value]  # the mistake


mistake = Pipeline("mistake", params=Values)
mistake.add(mistaken)


@step
async def talk(context: StepContext[Values]) -> None:
    for number in range(10_000):
        await context.log(f"line {number}")


@step(runs_in="process")
def talk_apart(context: StepContext[Values]) -> None:
    for number in range(3_000):
        context.log(f"line {number}")
    raise ValueError("after the last line")


talkative = Pipeline("talkative", params=Values)
talkative.add(talk)
talkative_apart = Pipeline("talkative_apart", params=Values)
talkative_apart.add(talk_apart)


@step
async def sizable(context: StepContext[Values]) -> str:
    return "x" * 100_000


sizable_result = Pipeline("sizable_result", params=Values)
sizable_result.add(sizable, result=True)
