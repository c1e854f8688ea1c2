"""A job's newest events without gaps, shared by all watchers of a process. Pure.

A watcher keeps only a cursor. Near the head it reads from the feed, further back from the log: a slow watcher
costs no memory, and a gap is filled once for all of them.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from headrace.domain.events.encoding import LoggedEvent
from headrace.domain.events.observable import Observable
from headrace.domain.events.types import FINAL_TYPES

MAX_TAIL_EVENTS: Final = 512
MAX_TAIL_BYTES: Final = 256 * 1024

Packet = TypeVar("Packet")


class Feed(Observable):
    """The tail of one job's history, up to its head."""

    def __init__(self) -> None:
        super().__init__()
        self._tail: deque[LoggedEvent] = deque()
        self._bytes = 0
        self._fence = 0
        self._fraction = -1.0
        self.head = 0
        self.final_state: str | None = None
        self.is_deleted = False
        self.progress: bytes | None = None
        self.progress_no = 0
        self._packets: dict[tuple[int, Callable[[Sequence[bytes]], Any]], Any] = {}

    def begin(self, head: int, final_state: str | None) -> None:
        """Set the job's head and, if it has ended, its state; earlier events are only in the log."""
        self.head = head
        self.final_state = final_state

    def append(self, events: Sequence[LoggedEvent]) -> bool:
        """Append *events* up to the first gap and skip known ones; return False when there is a gap."""
        for event in events:
            if event.seq <= self.head:
                continue
            if event.seq > self.head + 1:
                self.notify()
                return False
            self._keep(event)
        self.notify()
        return True

    def update_progress(self, fence: int, fraction: float, frame: bytes) -> None:
        """Store a progress frame, unless it is of an earlier attempt or its fraction is lower."""
        if fence < self._fence or (fence == self._fence and fraction < self._fraction):
            return
        self._fence, self._fraction = fence, fraction
        self.progress = frame
        self.progress_no += 1
        self.notify()

    def delete(self) -> None:
        """Tell the watchers that the job was deleted."""
        self.is_deleted = True
        self.notify()

    def after(self, cursor: int, max_bytes: int = MAX_TAIL_BYTES) -> list[LoggedEvent] | None:
        """Return events after *cursor*, at least one if there are any; None when only the log has them."""
        behind = self.head - cursor
        if behind <= 0:
            return []
        if behind > len(self._tail):
            return None
        events: list[LoggedEvent] = []
        for event in islice(self._tail, len(self._tail) - behind, None):
            max_bytes -= len(event.frame)
            if events and max_bytes < 0:
                break
            events.append(event)
        return events

    def cached_packet(
        self, cursor: int, encode: Callable[[Sequence[bytes]], Packet], max_bytes: int
    ) -> Packet | None:
        """Return *encode* of the frames from *cursor* to the head, computed once for all watchers.

        None when there are no frames, the tail does not reach that far back, or they exceed *max_bytes*.
        """
        key = (cursor, encode)
        if key not in self._packets:
            events = self.after(cursor, max_bytes) or []
            is_whole = bool(events) and events[-1].seq == self.head
            self._packets[key] = encode([event.frame for event in events]) if is_whole else None
        packet: Packet | None = self._packets[key]
        return packet

    def notify(self) -> None:
        super().notify()
        self._packets.clear()

    def _keep(self, event: LoggedEvent) -> None:
        self._packets.clear()
        self._tail.append(event)
        self._bytes += len(event.frame)
        self.head = event.seq
        # Only a retry can follow a final event, so the newest event decides.
        self.final_state = event.type.removeprefix("job.") if event.type in FINAL_TYPES else None
        while len(self._tail) > MAX_TAIL_EVENTS or (self._bytes > MAX_TAIL_BYTES and len(self._tail) > 1):
            self._bytes -= len(self._tail.popleft().frame)
