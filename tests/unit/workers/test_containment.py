"""Exceptions of an author's code in the event loop stay errors of the step."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from headrace.domain.pipelines.context import JobCancelledError
from headrace.workers.containment import StepLeftError, contained
from support.virtual_time import in_virtual_time, until_idle


class Exotic(BaseException):
    """An exception that `except Exception` does not catch."""


class Mute(BaseException):
    def __str__(self) -> str:
        raise ValueError("it will not say")


ERRORS = [
    ValueError("an ordinary one"),
    StopIteration(3),
    StopAsyncIteration(),
    RecursionError(),
    MemoryError(),
    TimeoutError(),
    JobCancelledError(),
    ExceptionGroup("several", [ValueError(), KeyError()]),
]
ENDS = [
    (SystemExit(3), "SystemExit: 3"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
    (GeneratorExit(), "GeneratorExit"),
    (Exotic("of the author's own"), "Exotic: of the author's own"),
    (Mute(), "Mute: (its text cannot be had)"),
    (
        BaseExceptionGroup("several", [ValueError(), SystemExit()]),
        "BaseExceptionGroup: several (ValueError; SystemExit)",
    ),
    (
        BaseExceptionGroup("tasks", [asyncio.CancelledError()]),
        "BaseExceptionGroup: tasks (CancelledError)",
    ),
]


def named(case: Any) -> str:
    return type(case).__name__


def raising(error: BaseException) -> None:
    with contained:
        raise error


def test_a_block_without_an_error_is_unaffected() -> None:
    with contained:
        value = 1

    assert value == 1


@pytest.mark.parametrize("error", ERRORS, ids=named)
def test_an_ordinary_error_is_raised_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        raising(error)

    assert caught.value is error


def test_a_cancellation_is_raised_unchanged() -> None:
    error = asyncio.CancelledError()

    with pytest.raises(asyncio.CancelledError) as caught:
        raising(error)

    assert caught.value is error


@pytest.mark.parametrize(("error", "description"), ENDS, ids=named)
def test_an_exception_that_would_end_the_worker_becomes_a_step_error(
    error: BaseException, description: str
) -> None:
    with pytest.raises(StepLeftError) as caught:
        raising(error)

    assert str(caught.value) == f"the step raised {description}"
    assert caught.value.__cause__ is error


def test_an_error_that_is_contained_twice_is_wrapped_once() -> None:
    with pytest.raises(StepLeftError) as caught, contained:
        raising(SystemExit(3))

    assert str(caught.value) == "the step raised SystemExit: 3"
    assert type(caught.value.__cause__) is SystemExit


async def leaving(gate: asyncio.Event, leave: Callable[[], Any]) -> Any:
    with contained:
        await gate.wait()
        return leave()


def fail(error: BaseException) -> Any:
    raise error


@in_virtual_time
async def test_an_event_loop_survives_steps_that_would_end_it() -> None:
    gate = asyncio.Event()
    steps = [
        asyncio.create_task(leaving(gate, lambda: fail(SystemExit(3)))),
        asyncio.create_task(leaving(gate, lambda: 7)),
        asyncio.create_task(leaving(gate, lambda: fail(KeyboardInterrupt()))),
    ]
    await until_idle()

    gate.set()
    left, value, interrupted = await asyncio.gather(*steps, return_exceptions=True)

    assert (str(left), str(interrupted)) == (
        "the step raised SystemExit: 3",
        "the step raised KeyboardInterrupt",
    )
    assert value == 7


@in_virtual_time
async def test_a_step_that_is_cancelled_while_it_waits_ends_cancelled() -> None:
    step = asyncio.create_task(leaving(asyncio.Event(), lambda: 7))
    await until_idle()

    step.cancel()
    await asyncio.wait({step})

    assert step.cancelled()
