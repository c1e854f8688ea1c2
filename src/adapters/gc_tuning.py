"""Tunes Python's cycle collector for a server: it runs rarely and skips objects from the start."""

import gc


def tune_gc() -> None:
    """Freeze the present objects and raise the thresholds: requests and attempts leave few cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
