"""Python's cycle collector in a process that serves: seldom, and not over what was there at the start."""

import gc


def tune_gc() -> None:
    """Requests and attempts leave hardly a cycle behind; looking for some costs much of their time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
