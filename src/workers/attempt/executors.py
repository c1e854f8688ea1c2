"""One try of one step: run it where it belongs, stop it when it is to stop, kill it when it does not."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, Literal, Protocol

from headrace.domain.pipelines.definition import Node, Pipeline
from headrace.workers.attempt.containment import call_in_thread, contained
from headrace.workers.attempt.contexts import LoopContext, StepIdentity, ThreadContext
from headrace.workers.attempt.step_host import StepHost
from headrace.workers.attempt.values import encode_value
from headrace.workers.attempt.waiting import StopSignal, first_of

# A loop step may notice by itself that it is to stop; then it is cancelled where it waits.
_COURTESY_SECONDS: Final = 0.2


class StepStoppedError(Exception):
    """The try was stopped from outside, or out of time."""

    def __init__(self, reason: Literal["stopped", "timeout"], *, abandoned: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.abandoned = abandoned


async def _contained(step: Awaitable[Any]) -> Any:
    with contained:
        return await step


class StepExecutor(Protocol):
    """A try that runs somewhere."""

    def start(self) -> asyncio.Future[Any]:
        """Begin. The future ends with what the step returned, or raises what the step raised."""

    def output(self, returned: Any) -> str:
        """What the step returned, as JSON.

        Raises:
            OutputError: it cannot be stored.
        """

    def ask_to_stop(self) -> None:
        """Let the step notice that it is to stop."""

    async def kill(self) -> bool:
        """End it now; False where that cannot be done and it is merely given up."""


class LoopExecutor:
    """A coroutine step."""

    def __init__(self, node: Node, context: LoopContext, items: tuple[Any, ...], limit: int) -> None:
        self._node = node
        self._context = context
        self._items = items
        self._limit = limit
        self._task: asyncio.Task[Any] | None = None

    def start(self) -> asyncio.Future[Any]:
        self._task = asyncio.create_task(_contained(self._node.step.function(self._context, *self._items)))
        return self._task

    def output(self, returned: Any) -> str:
        return encode_value(returned, f"the output of step {self._node.name!r}", self._limit)

    def ask_to_stop(self) -> None:
        self._context.stopping = True
        if self._task is not None:
            asyncio.get_running_loop().call_later(_COURTESY_SECONDS, self._task.cancel)

    async def kill(self) -> bool:
        if self._task is None or self._task.done():
            return True
        self._task.cancel()
        await first_of(self._task, seconds=_COURTESY_SECONDS)
        return self._task.done()


class ThreadExecutor:
    """A blocking step in a thread of its own. A thread cannot be killed: it is closed and given up."""

    def __init__(
        self, node: Node, context: ThreadContext, inner: LoopContext, items: tuple[Any, ...], limit: int
    ):
        self._node = node
        self._context = context
        self._inner = inner
        self._items = items
        self._limit = limit

    def start(self) -> asyncio.Future[Any]:
        return call_in_thread(
            f"headrace-{self._node.name}", self._node.step.function, self._context, *self._items
        )

    def output(self, returned: Any) -> str:
        return encode_value(returned, f"the output of step {self._node.name!r}", self._limit)

    def ask_to_stop(self) -> None:
        self._inner.stopping = True

    async def kill(self) -> bool:
        self._context.closed.set()
        return False


def here(
    node: Node,
    pipeline: Pipeline,
    situation: StepIdentity,
    desk: StepHost,
    items: tuple[Any, ...],
    limit: int,
) -> StepExecutor:
    """A try in this process: in the loop or in a thread."""
    context = LoopContext(situation, pipeline, desk)
    if node.step.runs_in == "loop":
        return LoopExecutor(node, context, items, limit)
    return ThreadExecutor(node, ThreadContext(context, asyncio.get_running_loop()), context, items, limit)


async def run_step(running: StepExecutor, node: Node, stop: StopSignal) -> str:
    """Run to the end, until *stop* is set, or until the step's time is over; returns the output as JSON.

    Raises:
        StepStoppedError: it was stopped or ran out of time; *abandoned* where it may still be at it.
        Exception: whatever the step raised.
    """
    work = running.start()
    try:
        await first_of(work, stop=stop, seconds=node.step.timeout.total_seconds())
        if work.done():
            return running.output(_returned(work))
        reason: Literal["stopped", "timeout"] = "stopped" if stop.is_set else "timeout"
        running.ask_to_stop()
        await first_of(work, seconds=node.step.grace.total_seconds())
        if reason == "stopped" and work.done() and not work.cancelled() and work.exception() is None:
            return running.output(work.result())  # what is done in time counts
        raise StepStoppedError(reason, abandoned=not work.done() and not await running.kill())
    except asyncio.CancelledError:
        await running.kill()
        raise
    finally:
        # Of one that was given up nobody asks what came of it.
        if work.done():
            _ignore(work)
        else:
            work.add_done_callback(_ignore)


def _ignore(ended: asyncio.Future[Any]) -> None:
    if not ended.cancelled():
        ended.exception()


def _returned(work: asyncio.Future[Any]) -> Any:
    if work.cancelled():
        raise RuntimeError("the step was cancelled from within")
    return work.result()
