"""The URL of a service and the token of the caller."""

import ipaddress
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx

from headrace_client.errors import BadTokenError, BadUrlError

API: Final = "/api/v1"


class Address:
    """One service, with the headers of one caller."""

    def __init__(self, url: str, token: str | None) -> None:
        """Check the URL and the token. *url* is given without `/api/v1`.

        Raises:
            BadUrlError: *url* is not the URL of a service.
            BadTokenError: *token* cannot be sent.
        """
        self.url = url.rstrip("/")
        try:
            parts = urlsplit(self.url)
            _ = parts.port
            httpx.URL(self.url)
        except (ValueError, httpx.InvalidURL) as error:
            raise BadUrlError(url) from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadUrlError(url)
        if token and not is_header_text(token):
            raise BadTokenError
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._is_https = parts.scheme == "https"
        # A proxy from the environment must not be used for this machine.
        self.is_local = _is_loopback(parts.hostname)

    @property
    def verify(self) -> ssl.SSLContext | bool:
        """What httpx verifies the service's certificate with: the usual authorities, for HTTPS only.

        Reading their certificates takes longer than a call, so plain HTTP gets a context without any.
        """
        return self._is_https or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def socket(self, path: str, query: Mapping[str, Any]) -> str:
        """Return the URL of a stream. *path* is given below `/api/v1`."""
        scheme, _, rest = self.url.partition("://")
        socket_scheme = "wss" if scheme == "https" else "ws"
        return f"{socket_scheme}://{rest}{API}{path}?{urlencode({**query, 'batch': 'true'})}"


def is_header_text(text: str) -> bool:
    """Return whether an HTTP header can carry *text* unchanged."""
    return text.isascii() and text.isprintable() and text == text.strip()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
