"""Checks the names and media types of files. Pure."""

import re
from typing import Final

from headrace.domain.errors import HeadraceError

_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]{1,63}/[\w!#$&^.+-]{1,63}", re.ASCII)
_MAX_NAME_BYTES: Final = 255
_UNKNOWN_TYPE: Final = "application/octet-stream"


class FileNameError(HeadraceError):
    """The name of a file is not allowed."""

    def __init__(self) -> None:
        super().__init__("a file's name has 1 to 255 bytes, and no slash, backslash or control character")


def check_name(name: str) -> str:
    """Return *name* if it is a valid file name on every operating system.

    Raises:
        FileNameError: the name is empty, too long, or has a separator or a control character.
    """
    is_valid = name.strip() and name not in (".", "..") and not re.search(r"[/\\\x00-\x1f\x7f]", name)
    try:
        is_short = len(name.encode()) <= _MAX_NAME_BYTES
    except UnicodeEncodeError:
        is_short = False
    if not (is_valid and is_short):
        raise FileNameError
    return name


def check_media_type(media_type: str) -> str:
    """Return *media_type* without its parameters; `application/octet-stream` if it is malformed."""
    essence = media_type.partition(";")[0].strip().lower()
    return essence if _MEDIA_TYPE.fullmatch(essence) else _UNKNOWN_TYPE
