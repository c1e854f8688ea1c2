"""The base of the streams that a socket or server-sent events carry to one watcher."""

from collections.abc import AsyncIterator
from typing import Literal

from headrace.api.live.direct_writer import DirectWriter
from headrace.api.live.frames import Frame
from headrace.api.live.heartbeat import Heartbeat

EndReason = Literal["ended", "deleted", "closing", "signed_out"]


class SlowReaderError(Exception):
    """The client reads too slowly to be served."""


class Stream:
    """One watcher's frames. *end_reason* is why the stream ended by itself; None while it goes on."""

    def __init__(self) -> None:
        self._heartbeat = Heartbeat()
        self._is_signed_out = False
        self.direct_writer: DirectWriter | None = None
        self.end_reason: EndReason | None = None
        self.frames_sent = 0

    def frames(self) -> AsyncIterator[list[Frame]]:
        """Yield the frames in groups that are ready together, up to and with the last one."""
        raise NotImplementedError

    def answer(self, frame: Frame) -> None:
        """Send *frame* between the others."""
        self._heartbeat.answer(frame)

    def sign_out(self) -> None:
        """End the stream with `signed_out`: its watcher's credential is no longer valid."""
        self._is_signed_out = True
        self._heartbeat.wake.set()

    def _make_beat(self) -> Frame:
        raise NotImplementedError

    def _next_beat(self) -> Frame:
        self._heartbeat.restart()
        return self._make_beat()

    def _due_beats(self) -> list[Frame]:
        return [self._next_beat()] if self._heartbeat.is_due else []

    def _count(self, group: list[Frame]) -> list[Frame]:
        self.frames_sent += len(group)
        return group
