"""Runs one try of one step in the event loop or in a thread, and stops it on request or after its timeout."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, TypeVar

from headrace.adapters.logs import RUNNING_STEP
from headrace.adapters.tasks import retrieve_exception
from headrace.domain.json_limits import MAX_LOOP_CHARS
from headrace.domain.pipelines.definition import Node, Pipeline
from headrace.workers.attempt.contexts import LoopContext, StepIdentity, ThreadContext
from headrace.workers.attempt.job_log_sender import JobLogSender
from headrace.workers.attempt.step_host import StepHost
from headrace.workers.attempt.waiting import StopSignal, wait_first, wait_for_end
from headrace.workers.attribution import attributed, create_unmarked_task, marked
from headrace.workers.containment import call_in_thread, contained
from headrace.workers.outputs import encode_output
from headrace.workers.step_output import CURRENT_LOG, StepLog
from headrace.workers.value_sizes import is_small
from headrace.workers.values import OutputError

T = TypeVar("T")

# A coroutine step has this time to notice a stop by itself; then its task is cancelled.
_COURTESY_SECONDS: Final = 0.2
# How often a large output is encoded and checked if other coroutines may have changed it meanwhile.
_MAX_ENCODINGS: Final = 3
# A value's own code may run in the turn, and must not hold up other jobs for long.
_TURN: Final = threading.Lock()
_MAX_TURN_SECONDS: Final = 2.0
# No change by another coroutine causes these errors.
_LASTING: Final = frozenset({"output_invalid", "output_too_large"})


class StepStoppedError(Exception):
    """A try was stopped from outside or ran out of time.

    *trouble*: what was wrong with the service that it waited for when its time was over.
    *abandoned*: its code still runs, until this future is done.
    """

    def __init__(
        self,
        reason: Literal["stopped", "timeout"],
        *,
        trouble: Exception | None = None,
        abandoned: asyncio.Future[Any] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.trouble = trouble
        self.abandoned = abandoned


class StepExecutor(Protocol):
    """Runs one try of a step: in the loop, in a thread or in a child process."""

    def start(self) -> asyncio.Future[str]:
        """Start the try. The future holds its output as JSON, or its exception.

        That is an `OutputError` for an output that cannot be stored.
        """

    def request_stop(self) -> None:
        """Let the step notice that it should stop."""

    async def kill(self) -> asyncio.Future[Any] | None:
        """End the try now. If that is impossible, return the future that is done when it has ended."""

    def release(self) -> None:
        """Forget the try, which has ended: its error would form a cycle with the executor."""


class LoopExecutor:
    """Runs a coroutine step as a task."""

    def __init__(self, node: Node, context: LoopContext, item: str | None, limit: int, log: StepLog) -> None:
        """*item*: the item of a `for_each` step, as JSON. *limit*: bytes of its output as JSON."""
        self._node = node
        self._log = log
        self._context = context
        self._item = item
        self._limit = limit
        self._task: asyncio.Task[str] | None = None
        self._in_thread: asyncio.Future[Any] | None = None
        self._has_returned = False

    def start(self) -> asyncio.Future[str]:
        self._task = create_unmarked_task(marked(self._run()))
        return self._task

    async def _run(self) -> str:
        """Call the step and encode its output; large JSON is read and written in a thread."""
        node = self._node
        RUNNING_STEP.set(self._context.key)
        CURRENT_LOG.set(self._log)
        with contained, self._log:
            if self._item is None:
                returned = await node.step.function(self._context)
            elif len(self._item) <= MAX_LOOP_CHARS:
                returned = await node.step.function(self._context, node.decode_item(self._item))
            else:
                item = await self._call_in_thread(node.decode_item, self._item)
                returned = await node.step.function(self._context, item)
            self._has_returned = True
            return await self._encode(returned)

    async def _encode(self, returned: Any) -> str:
        arguments = (self._node, self._context.key, returned, self._limit)
        try:
            is_short = is_small(returned)
        except Exception:  # noqa: BLE001  (an author's value may raise anything)
            is_short = False
        if is_short:
            return encode_output(*arguments)
        for _ in range(_MAX_ENCODINGS - 1):
            try:
                return await self._call_in_thread(_encode_in_turn, *arguments)
            except Exception as error:
                if isinstance(error, OutputError) and error.code in _LASTING:
                    raise
                # Another coroutine may have changed the value meanwhile.
        return await self._call_in_thread(_encode_in_turn, *arguments)

    async def _call_in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        future = call_in_thread(f"headrace-{self._node.name}-json", attributed(function), *arguments)
        future.add_done_callback(retrieve_exception)
        self._in_thread = future
        return await asyncio.shield(future)

    def request_stop(self) -> None:
        self._context.stopping = True
        asyncio.get_running_loop().call_later(_COURTESY_SECONDS, self._cancel_step)

    def _cancel_step(self) -> None:
        """Cancel the step, but no thread's work, and not the encoding of what the step has returned."""
        if self._task is not None and not self._has_returned and not self._is_in_thread:
            self._task.cancel()

    async def kill(self) -> asyncio.Future[Any] | None:
        if self._task is None:
            return None
        self._task.cancel()
        await wait_first(self._task, seconds=_COURTESY_SECONDS)
        if not self._task.done():
            return self._task
        return self._in_thread if self._is_in_thread else None

    def release(self) -> None:
        self._task = None

    @property
    def _is_in_thread(self) -> bool:
        return self._in_thread is not None and not self._in_thread.done()


class ThreadExecutor:
    """Runs a blocking step in a thread of its own. A thread cannot be killed, only closed and abandoned."""

    def __init__(
        self,
        node: Node,
        context: ThreadContext,
        inner: LoopContext,
        item: str | None,
        limit: int,
        log: StepLog,
    ) -> None:
        self._node = node
        self._log = log
        self._context = context
        self._inner = inner
        self._item = item
        self._limit = limit
        self._future: asyncio.Future[str] | None = None

    def start(self) -> asyncio.Future[str]:
        self._future = call_in_thread(f"headrace-{self._node.name}", attributed(self._call))
        return self._future

    def _call(self) -> str:
        """Call the step and encode its output, which may be large, in its thread."""
        RUNNING_STEP.set(self._inner.key)
        CURRENT_LOG.set(self._log)
        with self._log:
            items = () if self._item is None else (self._node.decode_item(self._item),)
            returned = self._node.step.function(self._context, *items)
            return encode_output(self._node, self._inner.key, returned, self._limit)

    def request_stop(self) -> None:
        self._inner.stopping = True

    async def kill(self) -> asyncio.Future[Any] | None:
        self._context.closed.set()
        return self._future

    def release(self) -> None:
        self._future = None


def _encode_in_turn(node: Node, key: str, value: Any, limit: int) -> str:
    """Encode a large output, in a thread: one after another, since each takes several copies of it."""
    has_turn = _TURN.acquire(timeout=_MAX_TURN_SECONDS)
    try:
        return encode_output(node, key, value, limit)
    finally:
        if has_turn:
            _TURN.release()


def build_executor(
    node: Node,
    pipeline: Pipeline,
    identity: StepIdentity,
    host: StepHost,
    item: str | None,
    limit: int,
    *,
    step_log_level: str = "info",
) -> StepExecutor:
    """Build the executor of a step that runs in this process, in the loop or in a thread."""
    context = LoopContext(identity, pipeline, host)
    loop = asyncio.get_running_loop()
    log = StepLog(JobLogSender(host, identity.key, loop), step_log_level)
    if node.step.runs_in == "loop":
        return LoopExecutor(node, context, item, limit, log)
    return ThreadExecutor(node, ThreadContext(context, loop), context, item, limit, log)


async def run_step(
    executor: StepExecutor,
    node: Node,
    stop: StopSignal,
    find_trouble: Callable[[], Exception | None] = lambda: None,
) -> str:
    """Run the try until it ends, *stop* is set or its timeout has passed; return the output as JSON.

    *find_trouble* returns what is wrong with the service that it waits for.

    Raises:
        StepStoppedError: it was stopped or timed out.
        Exception: any exception that the step raised.
    """
    step = executor.start()
    try:
        await asyncio.sleep(0)  # many steps end in their first turn, and need no timer
        if not step.done():
            await wait_first(step, stop=stop, seconds=node.step.timeout.total_seconds())
        if step.done():
            return _output(step)
        reason: Literal["stopped", "timeout"] = "stopped" if stop.is_set else "timeout"
        trouble = None if reason == "stopped" else find_trouble()
        executor.request_stop()
        await wait_for_end(step, stop, node.step.grace.total_seconds())
        if reason == "stopped" and step.done() and not step.cancelled() and step.exception() is None:
            return step.result()  # a step that ends within its grace time counts
        abandoned = None if step.done() else await executor.kill()
        raise StepStoppedError(reason, trouble=trouble, abandoned=abandoned)
    except asyncio.CancelledError:
        await executor.kill()
        raise
    finally:
        if step.done():
            retrieve_exception(step)
            executor.release()
        else:
            step.add_done_callback(retrieve_exception)


def _output(step: asyncio.Future[str]) -> str:
    if step.cancelled():
        raise RuntimeError("the step was cancelled from within")
    return step.result()
