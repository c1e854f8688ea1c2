"""The process of a step that a fork server starts, and the errors of its start."""

import asyncio
import signal

from headrace.workers.child.process import ProcessHandle


class StepNotStartedError(OSError):
    """The process of a step could not be started, so its step was not entered."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the process of the step could not be started: {reason}")


class ForkServerEndedError(Exception):
    """The fork server has ended. Only another worker can run steps with the code that this one has loaded."""

    def __init__(self) -> None:
        super().__init__("the fork server of this worker has ended")


class ForkHandle(ProcessHandle):
    """The process of a step that the fork server starts, or has started once `started` is done."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[None] = loop.create_future()
        super().__init__(None, loop.create_future())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group, while the id is known to be that of the step."""
        if self.status is None:
            super().signal(number)

    def set_started(self, pid: int) -> None:
        self.pid = pid
        if not self.started.done():
            self.started.set_result(None)

    def set_not_started(self, error: Exception) -> None:
        if not self.started.done():
            self.started.set_exception(error)

    def set_ended(self, status: int) -> None:
        if not self._exit.done():
            self._exit.set_result(status)

    def interrupt(self) -> None:
        """Take note that the fork server has ended. The keeper ends the process as well."""
        self.is_interrupted = True
        self.set_not_started(ForkServerEndedError())
        self.set_ended(-signal.SIGKILL)
