"""Files that a browser could run or show as a page are saved, except where our name is not above them."""

import pytest

from headrace.api.auth.request_info import RequestInfo
from headrace.api.files.disposition import disposition_of

FRAMED = {"sec-fetch-dest": "iframe", "sec-fetch-site": "same-origin"}
ACTIVE = [
    "text/html",
    "application/xhtml+xml",
    "image/svg+xml",
    "text/xml",
    "application/xml",
    "application/atom+xml",
    "application/pdf",
    "multipart/related",
    "message/rfc822",
    "application/x-mimearchive",
    "text/javascript",
    "application/javascript",
    "text/css",
    "application/x-shockwave-flash",
    "application/octet-stream",
    "text/x-unknown",
]


def shown(media_type: str, headers: dict[str, str] | None = None, files_host: str | None = None) -> bool:
    sent = {"host": "jobs.example:8000", **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in sent.items()]
    request = RequestInfo({"headers": raw, "query_string": b""})
    kind, _, name = disposition_of("a b;\"\r\n'é.html", media_type, request, files_host).partition("; ")
    assert name == "filename=\"a b;___'_.html\"; filename*=UTF-8''a%20b%3B%22%0D%0A%27%C3%A9.html"
    assert kind in ("inline", "attachment")
    return kind == "inline"


@pytest.mark.parametrize("media_type", ACTIVE)
def test_active_types_are_saved(media_type: str) -> None:
    assert not shown(media_type)
    assert not shown(media_type, files_host="files.example")
    assert not shown(media_type, {"sec-fetch-dest": "document", "sec-fetch-site": "same-origin"})
    assert not shown(media_type, {"sec-fetch-dest": "iframe", "sec-fetch-site": "same-site"})
    assert not shown(media_type, {"sec-fetch-dest": "iframe", "sec-fetch-site": "cross-site"})


@pytest.mark.parametrize("media_type", ACTIVE)
def test_active_types_are_shown_on_the_host_of_files_and_in_our_own_frames(media_type: str) -> None:
    assert shown(media_type, {"host": "FILES.example:443"}, files_host="files.Example")
    assert shown(media_type, FRAMED)


@pytest.mark.parametrize("media_type", ["image/png", "audio/flac", "video/mp4", "text/plain", "text/csv"])
def test_passive_types_are_shown(media_type: str) -> None:
    assert shown(media_type)
