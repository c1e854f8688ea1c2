"""Bounds how many WebSocket frames a client may send, control frames included. Pure."""

from typing import Final

# A client that subscribes to many jobs at once, or reconnects after a pause, sends tens of frames.
BURST: Final = 256
FRAMES_PER_SECOND: Final = 32


class FrameBudget:
    """A bucket of frames that refills evenly. Times are seconds of a monotonic clock."""

    __slots__ = ("_at", "_left")

    def __init__(self, now: float) -> None:
        self._left = float(BURST)
        self._at = now

    def take(self, frames: int, now: float) -> bool:
        """Count *frames*; return False if they are more than the client may send."""
        self._left = min(float(BURST), self._left + (now - self._at) * FRAMES_PER_SECOND) - frames
        self._at = now
        return self._left >= 0

    def give_back(self) -> None:
        """Do not count a frame after all: the server has requested it, as a pong."""
        self._left += 1
