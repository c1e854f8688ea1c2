"""Translates errors of the operating system in the store of files."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

from headrace.domain.conditions import Condition, Report, Trouble
from headrace.domain.errors import HeadraceError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY: Final = (errno.EROFS, errno.EACCES, errno.EPERM)


class StoreError(HeadraceError):
    """The store of files cannot be used. Nothing of the file is kept."""

    condition: ClassVar[Condition] = Condition.AWAY
    _text: ClassVar[str] = "the store of files is not available"

    def __init__(self, reason: str) -> None:
        """*reason*: the words of the operating system, without a path."""
        super().__init__(f"{self._text} ({reason})")
        self.reason = reason

    @property
    def trouble(self) -> Trouble:
        return Trouble(self.condition, self.reason)


class StoreFullError(StoreError):
    """The disk of the store, or the quota of its account, is full."""

    condition = Condition.FULL
    _text = "the store of files is full"


class StoreReadOnlyError(StoreError):
    """The store accepts no writes: its file system is read-only, or its folder belongs to another account."""

    condition = Condition.READ_ONLY
    _text = "the store of files cannot be written"


def translate_store_error(error: OSError) -> StoreError:
    reason = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return StoreFullError(reason)
    if error.errno in _READ_ONLY:
        return StoreReadOnlyError(reason)
    return StoreError(reason)


@contextmanager
def store_errors(report: Report) -> Iterator[None]:
    """Turn every error of the operating system in the block into one of the store, and report it.

    Raises:
        StoreError: in place of that error.
    """
    try:
        yield
    except OSError as error:
        translated = translate_store_error(error)
        report(translated.trouble)
        raise translated from error
