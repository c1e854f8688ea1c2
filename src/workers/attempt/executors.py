"""Runs one try of one step in the event loop or in a thread, and stops it on request or after its timeout."""

import asyncio
from collections.abc import Awaitable
from types import CoroutineType
from typing import Any, Final, Literal, Protocol

from headrace.adapters.tasks import retrieve_exception
from headrace.domain.pipelines.definition import Node, Pipeline
from headrace.workers.attempt.contexts import LoopContext, StepIdentity, ThreadContext
from headrace.workers.attempt.step_host import StepHost
from headrace.workers.attempt.waiting import StopSignal, wait_first, wait_for_end
from headrace.workers.attribution import attributed, create_unmarked_task, marked
from headrace.workers.containment import call_in_thread, contained
from headrace.workers.crash_record import Entry
from headrace.workers.outputs import encode_output

# A coroutine step has this time to notice a stop by itself; then its task is cancelled.
_COURTESY_SECONDS: Final = 0.2


class StepStoppedError(Exception):
    """A try was stopped from outside or ran out of time. *abandoned*: its code may still be running."""

    def __init__(self, reason: Literal["stopped", "timeout"], *, abandoned: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.abandoned = abandoned


async def _contained(step: Awaitable[Any]) -> Any:
    with contained:
        return await (marked(step) if isinstance(step, CoroutineType) else step)


class StepExecutor(Protocol):
    """Runs one try of a step: in the loop, in a thread or in a child process."""

    def start(self) -> asyncio.Future[Any]:
        """Start the try. The future holds the step's result or exception."""

    def output(self, returned: Any) -> str:
        """Encode the step's return value as JSON.

        Raises:
            OutputError: it cannot be stored.
        """

    def request_stop(self) -> None:
        """Let the step notice that it should stop."""

    async def kill(self) -> bool:
        """End the try now. Return False if that is impossible, so that it is abandoned."""


class LoopExecutor:
    """Runs a coroutine step as a task."""

    def __init__(self, node: Node, context: LoopContext, items: tuple[Any, ...], limit: int) -> None:
        """*items*: the item of a `for_each` step, else nothing. *limit*: bytes of its output as JSON."""
        self._node = node
        self._context = context
        self._items = items
        self._limit = limit
        self._task: asyncio.Task[Any] | None = None

    def start(self) -> asyncio.Future[Any]:
        self._task = create_unmarked_task(_contained(self._node.step.function(self._context, *self._items)))
        return self._task

    def output(self, returned: Any) -> str:
        return encode_output(self._node, self._context.key, returned, self._limit)

    def request_stop(self) -> None:
        self._context.stopping = True
        if self._task is not None:
            asyncio.get_running_loop().call_later(_COURTESY_SECONDS, self._task.cancel)

    async def kill(self) -> bool:
        if self._task is None or self._task.done():
            return True
        self._task.cancel()
        await wait_first(self._task, seconds=_COURTESY_SECONDS)
        return self._task.done()


class ThreadExecutor:
    """Runs a blocking step in a thread of its own. A thread cannot be killed, only closed and abandoned."""

    def __init__(
        self, node: Node, context: ThreadContext, inner: LoopContext, items: tuple[Any, ...], limit: int
    ):
        self._node = node
        self._context = context
        self._inner = inner
        self._items = items
        self._limit = limit

    def start(self) -> asyncio.Future[Any]:
        return call_in_thread(f"headrace-{self._node.name}", attributed(self._call))

    def _call(self) -> str:
        """Call the step and encode its output, which may be large, in its thread."""
        returned = self._node.step.function(self._context, *self._items)
        return encode_output(self._node, self._inner.key, returned, self._limit)

    def output(self, returned: str) -> str:
        return returned

    def request_stop(self) -> None:
        self._inner.stopping = True

    async def kill(self) -> bool:
        self._context.closed.set()
        return False


def build_executor(
    node: Node,
    pipeline: Pipeline,
    identity: StepIdentity,
    host: StepHost,
    items: tuple[Any, ...],
    limit: int,
) -> StepExecutor:
    """Build the executor of a step that runs in this process, in the loop or in a thread."""
    context = LoopContext(identity, pipeline, host)
    if node.step.runs_in == "loop":
        return LoopExecutor(node, context, items, limit)
    return ThreadExecutor(node, ThreadContext(context, asyncio.get_running_loop()), context, items, limit)


async def run_step(executor: StepExecutor, node: Node, stop: StopSignal, entry: Entry | None = None) -> str:
    """Run the try until it ends, *stop* is set or its timeout has passed; return the output as JSON.

    *entry*: the entry of the step in the crash record, if it runs in this process.

    Raises:
        StepStoppedError: it was stopped or timed out.
        Exception: any exception that the step raised.
    """
    step = executor.start()
    if entry is not None:
        entry.suspend()
    try:
        await asyncio.sleep(0)  # many steps end in their first turn, and need no timer
        await wait_first(step, stop=stop, seconds=node.step.timeout.total_seconds())
        if step.done():
            if entry is not None:
                entry.resume()  # it encodes the author's objects
            return executor.output(_returned(step))
        reason: Literal["stopped", "timeout"] = "stopped" if stop.is_set else "timeout"
        executor.request_stop()
        await wait_for_end(step, stop, node.step.grace.total_seconds())
        if reason == "stopped" and step.done() and not step.cancelled() and step.exception() is None:
            return executor.output(step.result())  # a step that ends within its grace time counts
        raise StepStoppedError(reason, abandoned=not step.done() and not await executor.kill())
    except asyncio.CancelledError:
        await executor.kill()
        raise
    finally:
        if step.done():
            retrieve_exception(step)
        else:
            step.add_done_callback(retrieve_exception)


def _returned(step: asyncio.Future[Any]) -> Any:
    if step.cancelled():
        raise RuntimeError("the step was cancelled from within")
    return step.result()
