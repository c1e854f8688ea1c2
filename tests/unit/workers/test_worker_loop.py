"""The event loop of a worker ends only with the task for which it runs."""

import asyncio
import sys
from collections.abc import Callable

import pytest

from headrace.workers.worker_loop import new_worker_loop

Disturb = Callable[[asyncio.AbstractEventLoop], object]


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "disturb",
    [
        lambda loop: loop.stop(),
        lambda loop: loop.call_soon(sys.exit, 3),
        lambda loop: loop.call_later(0.01, interrupt),
    ],
    ids=["stop", "exit", "interrupt"],
)
def test_the_loop_goes_on_when_something_ends_it(disturb: Disturb) -> None:
    async def run() -> str:
        loop = asyncio.get_running_loop()
        others = [asyncio.create_task(asyncio.sleep(0.05, number)) for number in range(3)]
        disturb(loop)
        await asyncio.sleep(0.05)
        disturb(loop)
        return f"others: {await asyncio.gather(*others)}"

    with asyncio.Runner(loop_factory=new_worker_loop) as runner:
        assert runner.run(run()) == "others: [0, 1, 2]"


@pytest.mark.parametrize("error", [LookupError("on purpose"), SystemExit(3)])
def test_the_error_of_the_main_task_ends_the_loop(error: BaseException) -> None:
    async def run() -> None:
        raise error

    with asyncio.Runner(loop_factory=new_worker_loop) as runner, pytest.raises(type(error)) as raised:
        runner.run(run())

    assert raised.value is error
