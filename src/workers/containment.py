"""Calls an author's code so that nothing it raises can end the event loop or the worker."""

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, Final, TypeVar

from headrace.workers.values import named_error

T = TypeVar("T")

_MAX_IDLE_THREADS: Final = 64


class StepLeftError(Exception):
    """The step raised an exception that ends more than the step, such as `SystemExit`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"the step raised {named_error(error)}")


class _Contained:
    """A context manager that turns exceptions which would end the event loop into an error of the step.

    Raises:
        StepLeftError: instead of any exception that is neither an `Exception` nor a cancellation.
    """

    def __enter__(self) -> None: ...

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, Exception | asyncio.CancelledError):
            raise StepLeftError(error) from error


contained: Final = _Contained()


def call_in_thread(name: str, function: Callable[..., T], *arguments: Any) -> "asyncio.Future[T]":
    """Call *function* in a daemon thread, in a copy of the present context.

    Threads that are done serve later calls. The process can exit while one still runs.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()
    # The traceback of an error keeps the variables of `work`, and they keep the future that keeps the error.
    held = [arguments]

    def settle(value: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def work() -> None:
        value: Any = None
        failure: Exception | None = None
        try:
            value = context.run(function, *held.pop())
        except (StopIteration, asyncio.CancelledError) as error:  # a future cannot hold these
            failure = StepLeftError(error)
        except Exception as error:  # noqa: BLE001  (the graph runner handles it)
            failure = error
        except BaseException as error:  # noqa: BLE001
            failure = StepLeftError(error)
        with contextlib.suppress(RuntimeError):  # the loop was closed: the worker has ended
            loop.call_soon_threadsafe(settle, value, failure)

    _Thread.call(name, work)
    return future


class _Thread(threading.Thread):
    """A daemon thread that makes one call after another, so that thread-local objects live on."""

    _idle: ClassVar[list["_Thread"]] = []

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._calls: queue.SimpleQueue[tuple[str, Callable[[], None]]] = queue.SimpleQueue()
        self.start()

    @classmethod
    def call(cls, name: str, work: Callable[[], None]) -> None:
        """Call *work* in the thread that became idle last, or in a new one; it must not raise."""
        try:
            thread = cls._idle.pop()
        except IndexError:
            thread = cls()
        thread._calls.put((name, work))

    def run(self) -> None:
        while True:
            self.name, work = self._calls.get()
            work()
            del work  # it holds the arguments and the result of the call
            self.name = "headrace-idle"
            if len(self._idle) >= _MAX_IDLE_THREADS:
                return
            self._idle.append(self)
