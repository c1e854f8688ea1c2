"""The answers and beats of a stream, and its wait for something to send."""

import asyncio
import contextlib
from typing import Final

from headrace.api.live.frames import Frame

_BEAT_SECONDS: Final = 8.0
_MAX_ANSWERS: Final = 64


class Heartbeat:
    """Keeps a stream's answers and its time of the next beat. Set *wake* when there is something to send."""

    def __init__(self) -> None:
        self._answers: list[Frame] = []
        self._last_beat_at = 0.0
        self._is_waiting = False
        self.wake = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        """Whether the stream waits in `wait`, and nothing has woken it."""
        return self._is_waiting and not self.wake.is_set()

    def restart(self) -> None:
        """Start the time until the next beat."""
        self._last_beat_at = asyncio.get_running_loop().time()

    def answer(self, frame: Frame) -> None:
        """Queue *frame*; drop it while 64 wait, so that a client that never reads costs no more memory."""
        if len(self._answers) < _MAX_ANSWERS:
            self._answers.append(frame)
            self.wake.set()

    def drain_answers(self) -> list[Frame]:
        """Return and remove the queued answers, and clear *wake*."""
        self.wake.clear()
        answers, self._answers = self._answers, []
        return answers

    @property
    def is_due(self) -> bool:
        """Whether it is time for a beat."""
        return asyncio.get_running_loop().time() - self._last_beat_at >= _BEAT_SECONDS

    async def wait(self) -> None:
        """Wait until there is something to send or a beat is due."""
        self._is_waiting = True
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._last_beat_at + _BEAT_SECONDS):
                    await self.wake.wait()
        finally:
            self._is_waiting = False
