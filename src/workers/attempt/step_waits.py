"""Follows the waits of an attempt, for process slots and services in trouble: no time limit counts them."""

import contextlib
import time
from collections.abc import Collection, Iterator

from msgspec import Struct

from headrace.workers.attempt.plan import StepPlan


class ServiceWait(Struct, frozen=True):
    """One wait of a step run. *error* says what is wrong, once the wait has lasted *patience_seconds*."""

    error: Exception
    since: float
    patience_seconds: float


class StepWaits:
    """The waits of one attempt's step runs.

    *runs* are those that have started beside each other, *lone* is one that has started alone.
    """

    def __init__(self) -> None:
        self.runs: Collection[StepPlan] = ()
        self.lone: StepPlan | None = None
        self.active_at = 0.0
        self._waited_seconds = 0.0
        self._waits: dict[str, list[ServiceWait]] = {}

    @contextlib.contextmanager
    def waiting(self, key: str, error: Exception, *, patience_seconds: float = 0.0) -> Iterator[None]:
        """Record that a step run waits for a service in the block; *error* says what is wrong with it.

        A wait that is over within *patience_seconds* is no trouble.
        """
        wait = ServiceWait(error, time.monotonic(), patience_seconds)
        waits = self._waits.setdefault(key, [])
        waits.append(wait)
        try:
            yield
        finally:
            if _is_trouble(wait):
                self.end()
            waits.remove(wait)
            if not waits:
                self._waits.pop(key, None)

    def trouble_of(self, key: str) -> Exception | None:
        """Return what is wrong with the service that a step run waits for; None: it does not wait for one."""
        wait = self._find(key)
        return None if wait is None else wait.error

    @property
    def waited_seconds(self) -> float:
        """How long the attempt has only waited, which its time limit does not count."""
        since = self.since()
        return self._waited_seconds + (0.0 if since is None else time.monotonic() - since)

    def since(self) -> float | None:
        """Return since when the attempt only waits; None: some step of it runs."""
        # A slot that one run of the attempt gives back may reach the next run a moment later.
        latest = self.active_at
        runs = self.runs if self.lone is None else (self.lone,)
        if not runs:
            # Between two steps it may wait for the items of the next step to be stored.
            own = next((wait for key in self._waits if (wait := self._find(key)) is not None), None)
            return None if own is None else max(latest, own.since)
        for run in runs:
            since = run.waits_since
            if since is None:
                wait = self._find(run.key)
                if wait is None:
                    return None
                since = wait.since
            latest = max(latest, since)
        return latest

    def since_for_slots(self) -> float | None:
        """Return since when the attempt only waits for process slots; None: some step of it runs."""
        if self.lone is not None or not self.runs or any(run.waits_since is None for run in self.runs):
            return None
        return self.since()

    def end(self) -> None:
        """Record that the attempt waits no longer, before a step of it runs."""
        self._waited_seconds = self.waited_seconds
        self.active_at = time.monotonic()

    def _find(self, key: str) -> ServiceWait | None:
        return next((wait for wait in self._waits.get(key, ()) if _is_trouble(wait)), None)


def _is_trouble(wait: ServiceWait) -> bool:
    return time.monotonic() - wait.since >= wait.patience_seconds
