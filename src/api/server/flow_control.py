"""How many messages may be on their way to a client, learned from how soon it answers pings. Pure.

TCP alone lets megabytes wait in the system: a slow client would be shown what was long ago, and could not be
told from one that stopped. A ping goes behind what was sent; its pong comes when the client has read so far.
"""

from typing import Final

# Whoever takes a message a second has read these well before a pong is missed.
LEAST: Final = 12
MOST: Final = 4096
# So much room has every quick client: pings that are not needed cost more than what they pace.
_EASY: Final = 96
# Libraries read that far ahead of their users, and answer pings meanwhile.
_AHEAD: Final = 40
_SOON_SECONDS: Final = 1.0
_LATE_SECONDS: Final = 3.0


class SendWindow:
    """Counts messages: sent, and read as far as a pong has said. Moments are those of a monotonic clock."""

    __slots__ = (
        "_asked",
        "_asked_at",
        "_asked_before_at",
        "_early",
        "_quickly_read",
        "_read",
        "_sent",
        "has_answered",
        "window",
    )

    def __init__(self, early: int = 0) -> None:
        """*early*: so many messages sooner than others is this client asked for the first time.

        Where thousands watch one job, its messages go to all at once; their pongs should not come so.
        """
        self._early = early
        self._sent = 0
        self._read = 0
        self._quickly_read = 0
        self._asked: int | None = None
        self._asked_at = 0.0
        self._asked_before_at = 0.0
        self.window = LEAST
        self.has_answered = False

    @property
    def unread(self) -> int:
        """What was sent and not said to be read."""
        return self._sent - self._read

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be sent for now. Who never answered a ping is not held back."""
        return self.has_answered and self.unread >= self.window

    @property
    def should_ask(self) -> bool:
        """Whether it is time for a ping; only one is under way."""
        return self._asked is None and self.unread >= max(self.window // 2 - self._early, 1)

    def count(self, messages: int = 1) -> None:
        """So many messages were sent."""
        self._sent += messages

    def ask(self, now: float) -> None:
        """A ping was sent."""
        if self.unread:
            self._early = 0
        self._asked, self._asked_at, self._asked_before_at = self._sent, now, self._asked_at

    def answer(self, now: float) -> None:
        """Its pong came. A quick client gets more room where it needs it, a slow one the least."""
        if self._asked is None:
            return
        took = now - self._asked_at
        needs_more = (
            self.window < _EASY
            or self.unread >= self.window
            or self._asked_at - self._asked_before_at < _SOON_SECONDS
        )
        self._quickly_read += self._asked - self._read
        self._read, self._asked = self._asked, None
        self.has_answered = True
        if took > _LATE_SECONDS:
            self.window, self._quickly_read = LEAST, 0
        elif took < _SOON_SECONDS and needs_more and self._quickly_read >= _AHEAD:
            self.window = min(self.window * 3 // 2, MOST)
