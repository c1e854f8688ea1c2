"""Decides how many messages may be on their way to a client, from how soon it answers pings. Pure.

TCP lets megabytes wait between the server and a slow client: the client would see events that are minutes
old, and the server could not tell it from a client that has stopped. A ping goes behind the messages sent
before it, so its pong shows that the client has read them.
"""

from typing import Final

# A client that takes one message a second reads this many well before its pong is overdue.
MIN_WINDOW: Final = 12
MAX_WINDOW: Final = 4096
# Every quick client gets this window without asking for it: more pings would cost more than they save.
_EASY_WINDOW: Final = 96
# Client libraries read about this many messages ahead of their users, and answer pings meanwhile.
_LIBRARY_READ_AHEAD: Final = 40
_QUICK_PONG_SECONDS: Final = 1.0
_SLOW_PONG_SECONDS: Final = 3.0


class SendWindow:
    """Counts the messages sent, and those read according to pongs. Times are seconds of a monotonic clock."""

    __slots__ = (
        "_first_ping_lead",
        "_messages_before_ping",
        "_ping_at",
        "_previous_ping_at",
        "_quickly_read",
        "_read",
        "_sent",
        "has_ponged",
        "size",
    )

    def __init__(self, first_ping_lead: int = 0) -> None:
        """Send the first ping behind messages *first_ping_lead* messages earlier than usual.

        The messages of a job go to all its watchers at once; their pongs should not all come back at once.
        """
        self._first_ping_lead = first_ping_lead
        self._sent = 0
        self._read = 0
        self._quickly_read = 0
        self._messages_before_ping: int | None = None
        self._ping_at = 0.0
        self._previous_ping_at = 0.0
        self.size = MIN_WINDOW
        self.has_ponged = False

    @property
    def unread(self) -> int:
        """How many messages were sent and are not yet known to be read."""
        return self._sent - self._read

    @property
    def is_full(self) -> bool:
        """Whether to send nothing more for now. A client that has never sent a pong is not held back."""
        return self.has_ponged and self.unread >= self.size

    @property
    def is_ping_due(self) -> bool:
        """Whether to send a ping now; at most one is pending."""
        return self._messages_before_ping is None and self.unread >= max(
            self.size // 2 - self._first_ping_lead, 1
        )

    def count(self, messages: int = 1) -> None:
        """Count *messages* as sent."""
        self._sent += messages

    def ping_sent(self, now: float) -> None:
        """Remember which messages the ping that was sent *now* goes behind."""
        if self.unread:
            self._first_ping_lead = 0
        self._messages_before_ping, self._ping_at, self._previous_ping_at = self._sent, now, self._ping_at

    def pong_received(self, now: float) -> None:
        """Count as read what went before the ping; grow a quick client's window, and reset a slow one's."""
        if self._messages_before_ping is None:
            return
        pong_seconds = now - self._ping_at
        needs_more = (
            self.size < _EASY_WINDOW
            or self.unread >= self.size
            or self._ping_at - self._previous_ping_at < _QUICK_PONG_SECONDS
        )
        self._quickly_read += self._messages_before_ping - self._read
        self._read, self._messages_before_ping = self._messages_before_ping, None
        self.has_ponged = True
        if pong_seconds > _SLOW_PONG_SECONDS:
            self.size, self._quickly_read = MIN_WINDOW, 0
        elif pong_seconds < _QUICK_PONG_SECONDS and needs_more and self._quickly_read >= _LIBRARY_READ_AHEAD:
            self.size = min(self.size * 3 // 2, MAX_WINDOW)
