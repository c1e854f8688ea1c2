"""A cache whose entries are valid for a fixed time. Pure."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class TtlCache(Generic[Key, Value]):
    """Holds at most *max_entries* values; the entry that was stored first makes room for a new one."""

    def __init__(
        self, *, ttl_seconds: float, max_entries: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """*clock* returns seconds and never goes back."""
        self._ttl_seconds = ttl_seconds
        self._max_entries = max_entries
        self._entries: OrderedDict[Key, tuple[float, Value]] = OrderedDict()
        self.now = clock

    def get(self, key: Key) -> Value | None:
        """Return the value of *key*; None if there is none, or it is older than its time."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        stored_at, value = entry
        return value if self.now() - stored_at < self._ttl_seconds else None

    def put(self, key: Key, value: Value, *, as_of: float | None = None) -> None:
        """Store *value*, which was true at *as_of*, a time of `now`; None: it is true now."""
        self._entries[key] = (self.now() if as_of is None else as_of, value)
        self._entries.move_to_end(key)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def evict(self, key: Key) -> None:
        """Remove the entry of *key*, if there is one."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
