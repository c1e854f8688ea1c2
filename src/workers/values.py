"""Turns values from an author's code into text and JSON that PostgreSQL can store."""

import contextlib
import inspect
import math
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from headrace.domain.errors import HeadraceError
from headrace.domain.events.types import JobError
from headrace.domain.redaction import redact

_MAX_FIELD_BYTES: Final = 500
_MAX_ERROR_BYTES: Final = 16 * 1024
_MAX_CODE_BYTES: Final = 64
_MAX_MESSAGE_BYTES: Final = 4_000
_MAX_CAUSES: Final = 100
_MAX_GROUPED_ERRORS: Final = 5
_MAY_BE_SUSPENDED: Final = (
    inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
)


class OutputError(HeadraceError):
    """A value of a step cannot be stored; a retry cannot help."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def error_text(error: BaseException) -> str:
    """Return `str(error)`, made safe to store, even if the class has a broken `__str__`."""
    return _text_of(error, str)


def named_error(error: BaseException) -> str:
    """Return the class and the text of an error, and of a group also those of the errors in it."""
    name = type(error).__name__
    text = _text_of(error, _group_text) if isinstance(error, BaseExceptionGroup) else error_text(error)
    return f"{name}: {text}" if text else name


def _group_text(group: BaseExceptionGroup[BaseException]) -> str:
    """Return the message of a group and its first errors, those of inner groups among them."""
    pending: list[BaseException] = list(reversed(group.exceptions))
    named: list[str] = []
    while pending and len(named) <= _MAX_GROUPED_ERRORS:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending += reversed(error.exceptions)
        else:
            named.append(named_error(error))
    has_more = len(named) > _MAX_GROUPED_ERRORS
    shown = "; ".join(named[:_MAX_GROUPED_ERRORS]) + ("; and more" if has_more else "")
    return f"{group.message} ({shown})".lstrip()


def _text_of(value: object, to_text: Callable[[Any], str]) -> str:
    try:
        return plain_text(to_text(value), _MAX_ERROR_BYTES)
    except BaseException:  # noqa: BLE001  (an author's `__str__` or `__repr__` may raise anything)
        return "(its text cannot be had)"


def plain_text(text: str, limit: int) -> str:
    """Return *text* as PostgreSQL can store it: no NUL, no lone surrogates, at most *limit* bytes."""
    encoded = text.replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - 3].decode("utf-8", "ignore") + "..."


def safe_text(text: str, limit: int) -> str:
    """Return `plain_text` without credentials."""
    # Cut first, since a text may be very long. A credential that this cuts lies beyond the limit.
    return plain_text(redact(text[: limit * 2]), limit)


def value_text(value: object) -> str:
    return plain_text(_text_of(value, repr), _MAX_FIELD_BYTES)


def finite_number(value: float) -> float:
    """Return *value* as a finite float; infinities, NaN and integers that no float holds become 0."""
    try:
        number = float(value)
    except OverflowError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def release_values(error: BaseException | None) -> None:
    """Drop the traceback of an error that was logged, those of its causes, and the values in their frames.

    The values may be large, and frames form a cycle with the task or future whose exception the error is.
    """
    for _ in range(_MAX_CAUSES):
        if error is None:
            return
        for frame, _ in traceback.walk_tb(error.__traceback__):
            # A coroutine or generator may be suspended, and would be closed.
            if not frame.f_code.co_flags & _MAY_BE_SUSPENDED:
                with contextlib.suppress(RuntimeError):  # it still runs
                    frame.clear()
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def bytes_or_path(source: object) -> bytes | Path:
    """Return the content of a file that a step saves, as bytes or as a path.

    Raises:
        TypeError: *source* is neither bytes nor a path.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | Path):
        return Path(source)
    raise TypeError(f"a file is bytes or a path, not {type(source).__name__}")


def job_error(code: object, message: str, step: str | None = None) -> JobError:
    """Return an error that can be stored, for any *code* and *message* of an author."""
    return JobError(
        code=plain_text(str(code), _MAX_CODE_BYTES), message=safe_text(message, _MAX_MESSAGE_BYTES), step=step
    )
