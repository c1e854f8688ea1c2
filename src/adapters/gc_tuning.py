"""Tunes Python's cycle collector: it runs rarely, and skips objects from the start of a server."""

import gc


def collect_rarely() -> None:
    """Raise the thresholds: imports and attempts leave few cycles."""
    gc.set_threshold(100_000, 20, 100)


def collect_requests() -> None:
    """Set the thresholds of a server that answers requests, whose statements and sockets are cycles.

    A collection of 100,000 objects would hold the loop for a tenth of a second, and fill memory until then.
    """
    gc.set_threshold(5_000, 5, 5)


def freeze_present_objects() -> None:
    """Take the objects that a server keeps until its end out of all collections."""
    gc.collect()
    gc.freeze()
    # Python collects everything once objects have become a quarter more. It must not count the frozen ones.
    gc.collect()
