"""A step that returns a call without `await`, or a generator, fails at once and says what is missing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from msgspec import Struct

from headrace import Pipeline, StepContext, step, task
from headrace.testing import run
from headrace.workers.outputs import compute_items, encode_output
from headrace.workers.values import OutputError
from support.worker_builders import new_node, returning


class Params(Struct):
    words: list[str] = []


async def fetch() -> int:
    return 1


def numbers() -> Iterator[int]:
    yield 1


async def pages() -> AsyncIterator[int]:
    yield 1


class Call:
    def __await__(self) -> Iterator[None]:
        yield


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (fetch, "await is missing before the call of fetch"),
        (Call, "await is missing: this is an awaitable Call"),
        (Future, ".result() is missing: this is a future"),
        (numbers, "numbers is a generator: return a list of what it yields"),
        (pages, "pages is an asynchronous generator: collect what it yields with `async for`"),
    ],
)
@pytest.mark.parametrize("shape", [Any, int, dict[str, list[Any]]])
@pytest.mark.parametrize(
    ("inside", "path"), [(lambda value: value, "$"), (lambda value: {"a": [value]}, "$.a[0]")]
)
def test_an_output_says_what_is_missing_and_where(
    make: Callable[[], Any], reason: str, shape: Any, inside: Callable[[Any], Any], path: str
) -> None:
    with pytest.raises(OutputError) as refused:
        encode_output(returning(shape), "mix[3]", inside(make()), 1_000)

    message = f"the output of step 'mix[3]' cannot be stored as JSON: {reason} - at `{path}`"
    assert (refused.value.code, str(refused.value)) == ("output_invalid", message)


async def test_a_task_of_asyncio_is_not_awaited_either() -> None:
    running = asyncio.create_task(fetch())

    with pytest.raises(OutputError, match="await is missing: this is an awaitable Task"):
        encode_output(returning(int), "mix", running, 1_000)

    assert await running == 1


@pytest.mark.parametrize("make", [fetch, pages])
def test_items_that_are_not_awaited_are_refused(make: Callable[[], Any]) -> None:
    def items(_params: Params) -> Any:
        return make()

    with pytest.raises(OutputError, match=r"^the items of step 'work' are not there: ") as refused:
        compute_items(new_node(for_each=items), Params(), 1_000)

    assert refused.value.code == "items_invalid"


def test_items_may_come_from_a_generator() -> None:
    assert compute_items(new_node(for_each=lambda _params: numbers()), Params(), 1_000) == ["1"]


@step
async def forgets_to_report(context: StepContext[Params]) -> None:
    return context.progress(1, 2)  # type: ignore[no-any-return]


@step
def forgets_in_a_thread(context: StepContext[Params]) -> int:
    return fetch()  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("forgetful", "call"), [(forgets_to_report, "LoopContext.progress"), (forgets_in_a_thread, "fetch")]
)
def test_a_step_without_await_fails_its_job_at_the_first_try(forgetful: Any, call: str) -> None:
    pipeline = Pipeline("forgetful", params=Params)
    pipeline.add(forgetful, name="work", result=True)

    job = run(pipeline)

    assert job.error is not None
    assert (job.state, job.error.code, job.error.step) == ("failed", "output_invalid", "work")
    assert "the output of step 'work' cannot be stored as JSON: await is missing" in job.error.message
    assert f" before the call of {call} " in job.error.message
    assert job.step("work").tries == 1


def test_a_task_without_await_fails_as_well() -> None:
    @task
    def forgetful() -> int:
        return fetch()  # type: ignore[return-value]

    job = run(forgetful)

    assert job.error is not None
    assert "await is missing before the call of fetch" in job.error.message
