"""Splits the URLs of servers, and refuses a URL of which a part would be taken for another."""

import re
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

from headrace.domain.errors import HeadraceError

_ADVICE: Final = (
    "percent-encode the special characters of user name, password and names:"
    " @ is %40, / is %2F, ? is %3F, # is %23, % is %25"
)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\]", re.ASCII)
ENDED_HANDSHAKES: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""Errors of TLS by which a server is away. All others say that TLS is not set up alike on both sides."""
_MAX_PORT: Final = 65_535
_MAX_PASSWORD_BYTES: Final = 65_536


class ServerUrlError(HeadraceError):
    """The URL of a server cannot be used. The message does not contain the URL, which may hold a password."""


class UrlParts(Struct, frozen=True):
    """The parts of a URL, decoded except *authority*, which has no user, and *raw_password*."""

    scheme: str
    user: str | None
    password: str | None
    raw_password: str | None
    authority: str
    path: str
    parameters: dict[str, str]


def split_url(url: str, schemes: tuple[str, ...]) -> UrlParts:
    """Split *url*, as libpq does: a plus sign is no space.

    Raises:
        ServerUrlError: it has another scheme, or characters that must be percent-encoded.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in schemes:
        raise ServerUrlError(f"expected a URL that starts with {schemes[0]}://")
    place, _, query = rest.partition("?")
    authority, slash, path = place.partition("/")
    is_ambiguous = "#" in rest or "@" in path + query or authority.count("@") > 1
    if is_ambiguous or _BAD_ESCAPE.search(rest):
        raise ServerUrlError(_ADVICE)
    if not rest.isprintable() or " " in rest:
        raise ServerUrlError("it contains a space or a control character")
    login, separator, authority = authority.rpartition("@")
    user, _, password = login.partition(":")
    return UrlParts(
        scheme,
        unquote(user) or None,
        unquote(password) or None,
        password or None,
        authority,
        unquote(slash + path),
        dict(map(_split_parameter, query.split("&"))) if query else {},
    )


def split_host(place: str) -> tuple[str, int | None]:
    """Split `host:port`, `[address]:port` or a host; a Unix socket's folder is percent-encoded.

    Raises:
        ServerUrlError: it is none of these.
    """
    host, separator, port = place, "", ""
    if not place.endswith("]"):
        before, separator, after = place.rpartition(":")
        if separator:
            host, port = before, after
    decoded = unquote(host)
    if not decoded.startswith("/") and not _HOST.fullmatch(host):
        raise ServerUrlError(f"its host or port cannot be read; {_ADVICE}")
    return decoded.strip("[]"), parse_port(port) if port else None


def parse_port(text: str) -> int:
    """Return the number of a port.

    Raises:
        ServerUrlError: it is none.
    """
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) <= _MAX_PORT):
        raise ServerUrlError(f"its port is not a number from 1 to {_MAX_PORT}; {_ADVICE}")
    return int(text)


def read_password(file: Path) -> str:
    """Return the password in *file*, without the end of its line.

    Raises:
        OSError: the file cannot be read, or holds no text.
    """
    with file.open("rb") as opened:
        raw = opened.read(_MAX_PASSWORD_BYTES)
    try:
        password = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise OSError(f"{file} is not text") from error
    if not password:
        raise OSError(f"{file} is empty")
    return password


def _split_parameter(pair: str) -> tuple[str, str]:
    name, separator, value = pair.partition("=")
    if not (separator and name):
        raise ServerUrlError(f"a parameter has no value; {_ADVICE}")
    return unquote(name), unquote(value)
