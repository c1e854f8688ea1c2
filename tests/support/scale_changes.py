"""The changes of the number of workers, and whether they flap."""

from collections.abc import Iterator, Sequence

from msgspec import Struct


class Change(Struct, frozen=True):
    """A change of the number of workers. *read_at*: the time of the reading that caused it."""

    read_at: float
    before: int
    after: int
    cause: str = ""


class Submission(Struct, frozen=True):
    """The time from the request to its answer, somewhere in which the job was stored."""

    sent_at: float
    answered_at: float


def flaps(
    changes: Sequence[Change], submissions: Sequence[Submission], window_seconds: float
) -> Iterator[str]:
    """Yield each scale-out that no submission explains, within the window after the last scale-in.

    A submission explains it if it may have been stored between the read of the scale-in and that of the
    scale-out.
    """
    last_in: Change | None = None
    for change in changes:
        if change.after < change.before:
            last_in = change
        elif last_in is not None and change.read_at - last_in.read_at <= window_seconds:
            begin, end = last_in.read_at, change.read_at
            if not any(
                submission.answered_at >= begin and submission.sent_at <= end for submission in submissions
            ):
                yield f"{last_in} is followed by {change}"
