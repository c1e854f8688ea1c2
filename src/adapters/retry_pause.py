"""The pause before a lost connection is opened again, or an ended process is started again."""


class RetryPause:
    """Seconds to wait before the next attempt: twice as long each time, until an attempt succeeds."""

    def __init__(self, *, min_seconds: float, max_seconds: float) -> None:
        self._min_seconds = min_seconds
        self._max_seconds = max_seconds
        self._seconds = min_seconds

    def next_seconds(self) -> float:
        """Return the pause before the next attempt, and double the one after it."""
        seconds = self._seconds
        self._seconds = min(seconds * 2, self._max_seconds)
        return seconds

    def reset(self) -> None:
        """Begin with the shortest pause again, because an attempt has succeeded."""
        self._seconds = self._min_seconds
