"""Shows an error of an author's code as its author needs it: without the frames of the service."""

import importlib
import os
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final

_PACKAGE: Final = Path(__file__).parents[2]
# The bundled pipelines are written as a user's are.
_BUNDLED: Final = str(_PACKAGE / "pipelines") + os.sep
_FRAMEWORK: Final = (str(_PACKAGE) + os.sep, "<frozen importlib", importlib.__file__)
INSTALLED: Final = tuple(
    {sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
"""The folders of installed packages and of the standard library."""
_MAX_MESSAGE_CHARS: Final = 500


def author_traceback(error: BaseException) -> TracebackType | None:
    """Return the traceback of *error* from the first frame of an author on.

    Without such a frame it is the whole one, or none for a file that cannot be parsed.
    """
    trace = error.__traceback__
    while trace is not None and _is_framework(trace.tb_frame):
        trace = trace.tb_next
    if trace is None and not isinstance(error, SyntaxError):
        return error.__traceback__
    return trace


def format_author_traceback(error: BaseException) -> str:
    """Return the text of `author_traceback`, with the causes of the error."""
    return "".join(traceback.format_exception(type(error), error, author_traceback(error))).rstrip("\n")


def summarize(error: BaseException) -> str:
    """Return *error* as one line: the author's file and line, the type and the message."""
    place = _locate(error)
    message = " ".join(_message(error).split())[:_MAX_MESSAGE_CHARS]
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return text if place is None else f"{place[0]}:{place[1]}: {text}"


def author_files(error: BaseException) -> Iterator[str]:
    """Yield the files that were executed or parsed when *error* was raised, without those of the service."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        yield error.filename
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if not _is_framework(frame):
            yield frame.f_code.co_filename


def _locate(error: BaseException) -> tuple[str, int] | None:
    """Return the file and the line of the author's own code that raised *error*, or called what raised it."""
    if isinstance(error, SyntaxError) and error.filename is not None and error.lineno is not None:
        return error.filename, error.lineno
    places = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not _is_framework(frame)
    ]
    own = [place for place in places if not place[0].startswith((*INSTALLED, "<"))] or places
    return own[-1] if own else None


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return error.msg or ""  # its text repeats the file and the line
    try:
        return str(error)
    except BaseException:  # noqa: BLE001  (an author's `__str__` may raise anything)
        return "(its text cannot be had)"


def _is_framework(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return file.startswith(_FRAMEWORK) and not file.startswith(_BUNDLED)
