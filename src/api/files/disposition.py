"""Decides whether a browser shows a file or saves it. Pages of users must not appear under our name."""

import re
from typing import Final
from urllib.parse import quote

from headrace.api.auth.local_mode import host_of
from headrace.api.auth.request_info import RequestInfo

# What these show cannot pretend to be a page of the service. Scripts and documents are in no list.
_PASSIVE_TYPES: Final = frozenset(
    {
        "application/json",
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "text/csv",
        "text/plain",
    }
)
_PASSIVE_KINDS: Final = ("audio/", "video/")
# Not `%` either: some browsers decode it.
_UNSAFE: Final = re.compile(r'[^ -~]|["\\%]')
VARIES_BY: Final = "Origin, Sec-Fetch-Dest, Sec-Fetch-Site"
"""The headers on which the disposition depends, and the one of the rules for other origins."""


def disposition_of(name: str, media_type: str, request: RequestInfo, files_host: str | None) -> str:
    """Return the value of `Content-Disposition`.

    An active type, such as HTML or SVG, is shown on *files_host*, which is not our name, and in a frame of
    our own pages, where the address is theirs. Elsewhere it is saved.
    """
    is_passive = media_type in _PASSIVE_TYPES or media_type.startswith(_PASSIVE_KINDS)
    is_shown = is_passive or _is_on_files_host(request, files_host) or _is_in_own_frame(request)
    # Programs that do not know `filename*` take `filename`, which has ASCII only.
    names = f"filename=\"{_UNSAFE.sub('_', name)}\"; filename*=UTF-8''{quote(name, safe='')}"
    return f"{'inline' if is_shown else 'attachment'}; {names}"


def _is_on_files_host(request: RequestInfo, files_host: str | None) -> bool:
    return files_host is not None and host_of(request.header("host")) == files_host.casefold()


def _is_in_own_frame(request: RequestInfo) -> bool:
    # Browsers set these headers; no page can.
    return (request.header("sec-fetch-dest"), request.header("sec-fetch-site")) == ("iframe", "same-origin")
