"""What a file may be called. Pure."""

import re
from typing import Final

from headrace.domain.errors import HeadraceError

_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]{1,63}/[\w!#$&^.+-]{1,63}", re.ASCII)
_LONGEST_NAME: Final = 255
_FALLBACK: Final = "application/octet-stream"


class FileNameError(HeadraceError):
    """That cannot be the name of a file."""

    def __init__(self) -> None:
        super().__init__("a file's name has 1 to 255 bytes, and no slash, backslash or control character")


def check_name(name: str) -> str:
    """Return *name* when it can be a file's name on any system, alone.

    Raises:
        FileNameError: it cannot.
    """
    ok = name.strip() and name not in (".", "..") and not re.search(r"[/\\\x00-\x1f\x7f]", name)
    try:
        short = len(name.encode()) <= _LONGEST_NAME
    except UnicodeEncodeError:
        short = False
    if not (ok and short):
        raise FileNameError
    return name


def check_media_type(media_type: str) -> str:
    """*media_type* without parameters, or the type of unknown bytes when it is none."""
    bare = media_type.partition(";")[0].strip().lower()
    return bare if _MEDIA_TYPE.fullmatch(bare) else _FALLBACK
