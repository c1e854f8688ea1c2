"""Calls an author's code so that nothing it raises can end the event loop or the worker."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TypeVar

from headrace.workers.values import error_text

T = TypeVar("T")


class StepLeftError(Exception):
    """The step raised an exception that ends more than the step, such as `SystemExit`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"the step raised {type(error).__name__}: {error_text(error)}")


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
    """Call *function* in a daemon thread of its own; the process can exit while it still runs."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

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
            value = function(*arguments)
        except (StopIteration, asyncio.CancelledError) as error:  # a future cannot hold these
            failure = StepLeftError(error)
        except Exception as error:  # noqa: BLE001  (the graph runner handles it)
            failure = error
        except BaseException as error:  # noqa: BLE001
            failure = StepLeftError(error)
        with contextlib.suppress(RuntimeError):  # the loop was closed: the worker has ended
            loop.call_soon_threadsafe(settle, value, failure)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future
