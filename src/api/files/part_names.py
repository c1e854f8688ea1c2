"""Reads the file name of a part of an upload, in each of the forms that clients write it. Pure."""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from multipart import MultipartSegment, content_disposition_unquote, parse_options_header

from headrace.api.errors import InvalidInputError

# RFC 8187: charset'language'value, where the value has %XX for everything but letters, digits and these.
_EXTENDED: Final = re.compile(r"([A-Za-z0-9-]+)'[A-Za-z0-9-]*'((?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-Fa-f]{2})*)")
_CHARSETS: Final = {"utf-8": "utf-8", "iso-8859-1": "iso-8859-1"}
_PATH: Final = "$.file"

HEADER_CHARSET: Final = "latin-1"
"""The charset with which the parser must read the heads of parts: it keeps each byte."""


def file_name_of(segment: MultipartSegment) -> str | None:
    """Return the name of the file; None if the part has none.

    The name is that of `filename*` (RFC 8187), or else that of `filename` as UTF-8, or as Latin-1 if it is
    not UTF-8. A path before it, which old browsers send, is cut off.

    Raises:
        InvalidInputError: the name cannot be decoded.
    """
    _, options = parse_options_header(
        segment.header("Content-Disposition", ""), unquote=content_disposition_unquote
    )
    extended = options.get("filename*")
    if extended is not None:
        name = _decode_extended(extended)
    elif segment.filename:
        name = decode_text(segment.filename)
    else:
        return None
    return name.replace("\\", "/").rsplit("/", maxsplit=1)[-1]


def decode_text(text: str) -> str:
    """Decode a text of a part's head, which was read with `HEADER_CHARSET`.

    Raises:
        InvalidInputError: the text is neither UTF-8 nor Latin-1.
    """
    raw = text.encode(HEADER_CHARSET)
    # Programs that say Latin-1 mean Windows-1252, which has letters where Latin-1 has control characters.
    for charset in ("utf-8", "windows-1252"):
        try:
            return raw.decode(charset)
        except UnicodeDecodeError:
            continue
    raise InvalidInputError(_PATH, "the name of the file is neither UTF-8 nor Latin-1")


def _decode_extended(value: str) -> str:
    match = _EXTENDED.fullmatch(value)
    charset = match and _CHARSETS.get(match[1].lower())
    if match is None or charset is None:
        raise InvalidInputError(
            _PATH, "filename* is written as UTF-8''na%C3%AFve.txt, with %XX for other characters (RFC 8187)"
        )
    try:
        return unquote_to_bytes(match[2]).decode(charset)
    except UnicodeDecodeError as error:
        raise InvalidInputError(_PATH, f"filename* is not valid {match[1]}") from error
