"""Tunes Python's cycle collector: it runs rarely, and skips objects from the start of a server."""

import gc


def collect_rarely() -> None:
    """Raise the thresholds: imports, requests and attempts leave few cycles."""
    gc.set_threshold(100_000, 20, 100)


def freeze_present_objects() -> None:
    """Take the objects that a server keeps until its end out of all collections."""
    gc.collect()
    gc.freeze()
