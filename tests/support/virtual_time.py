"""An event loop whose clock jumps: waits in a test take no time and end at exact moments."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final, ParamSpec

P = ParamSpec("P")

BEGINNING: Final = 1_000.0


class _Jumping(selectors.DefaultSelector):
    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("every task waits, and no timer is set")
        if not ready and timeout is not None:
            self._jump(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer once no callback is ready.

    A wait that no timer can end is an error. The loop does not wait for threads.
    """

    def __init__(self) -> None:
        self._now = BEGINNING
        self.timers: list[asyncio.TimerHandle] = []
        self.complaints: list[dict[str, Any]] = []
        super().__init__(_Jumping(self._jump))
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def _jump(self, seconds: float) -> None:
        self._now += max(0.0, seconds)

    def time(self) -> float:
        return self._now

    @property
    def passed(self) -> float:
        """The seconds since the beginning."""
        return round(self._now - BEGINNING, 6)

    def call_at(  # type: ignore[override]  # it only passes the arguments on
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = super().call_at(when, callback, *args, context=context)
        self.timers.append(timer)
        return timer


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run *test* in its own `VirtualLoop`; it also fails if a callback or a forgotten task raises."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            loop = virtual(runner.get_loop())
            runner.run(test(*args, **kwargs))
            runner.run(until_idle())  # closed transports end in a later turn
        assert loop.complaints == []

    return run


def virtual(loop: asyncio.AbstractEventLoop) -> VirtualLoop:
    assert isinstance(loop, VirtualLoop)
    return loop


def running_loop() -> VirtualLoop:
    return virtual(asyncio.get_running_loop())


async def until_idle() -> None:
    """Return once all other tasks wait: the clock of a `VirtualLoop` moves only then."""
    running_loop()
    await asyncio.sleep(0.000_001)
