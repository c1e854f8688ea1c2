"""What a worker reports to its monitoring. Without one, each report costs a comparison."""

from typing import Literal, Protocol

StepOutcome = Literal["succeeded", "failed", "retried", "stopped"]


class Monitor(Protocol):
    """Receives the reports of one worker process, in its event loop. Each call must cost next to nothing."""

    def on_start(self, late_seconds: float) -> None:
        """A job starts, *late_seconds* after it was due."""

    def on_step(self, pipeline: str, step: str, outcome: StepOutcome, seconds: float) -> None:
        """A try of a step has ended. It was `retried` if another try follows the failure."""

    def on_hand_back(self, count: int = 1) -> None:
        """Jobs were handed back before their end, and another attempt goes on with them."""

    def on_losses(self, count: int) -> None:
        """Attempts were lost with their worker, and this worker has requeued or failed their jobs."""

    def on_batch(self, size: int) -> None:
        """A statement has stored *size* changes."""

    def on_ring(self, outcome: str, count: int = 1) -> None:
        """Rings were `sent`, have `failed`, or woke the worker: `claimed`, or `in_vain`."""
