"""What every socket's stream does beside its own frames: answers, beats, waiting for something to send."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from headrace.api.live.frames import Frame

_BEAT_SECONDS: Final = 8.0
_MOST_ANSWERS: Final = 64


class Heartbeat:
    """*wake* is set by whoever has something to send; *make_beat* makes the frame of a beat."""

    def __init__(self, make_beat: Callable[[], Frame]) -> None:
        self._make_beat = make_beat
        self._answers: list[Frame] = []
        self._beat_at = 0.0
        self._is_resting = False
        self.wake = asyncio.Event()

    @property
    def is_resting(self) -> bool:
        """Whether all was sent, and nothing has come since."""
        return self._is_resting and not self.wake.is_set()

    def begin(self) -> None:
        """Count the time of the first beat from now on."""
        self._beat_at = asyncio.get_running_loop().time()

    def answer(self, frame: Frame) -> None:
        """Send *frame* between the others; what is asked without reading is not answered for ever."""
        if len(self._answers) < _MOST_ANSWERS:
            self._answers.append(frame)
            self.wake.set()

    def take_answers(self) -> list[Frame]:
        """What was asked so far; *wake* tells of everything after this."""
        self.wake.clear()
        answers, self._answers = self._answers, []
        return answers

    def due_beat(self) -> list[Frame]:
        """A beat when it is time for one."""
        if asyncio.get_running_loop().time() - self._beat_at < _BEAT_SECONDS:
            return []
        return [self.beat()]

    def beat(self) -> Frame:
        self._beat_at = asyncio.get_running_loop().time()
        return self._make_beat()

    async def woken(self) -> None:
        """Wait for something to send, or until it is time for a beat."""
        self._is_resting = True
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._beat_at + _BEAT_SECONDS):
                    await self.wake.wait()
        finally:
            self._is_resting = False
