"""Where a service is, and who asks."""

import ipaddress
from typing import Final
from urllib.parse import quote, urlsplit

import httpx

from headrace_client.errors import BadTokenError, BadUrlError

API: Final = "/api/v1"


class Address:
    """One service as one caller sees it."""

    def __init__(self, url: str, token: str | None) -> None:
        """*url* is without `/api/v1`.

        Raises:
            BadUrlError: it is not the URL of a service.
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
        # A proxy of the environment is not on the way to this machine.
        self.is_local = _is_loopback(parts.hostname)

    def job_socket(self, job_id: str, after: int) -> str:
        """The address of a job's stream."""
        scheme, _, rest = self.url.partition("://")
        socket_scheme = "wss" if scheme == "https" else "ws"
        return f"{socket_scheme}://{rest}{API}/jobs/{quote(job_id, safe='')}/ws?after={after}&batch=true"


def is_header_text(text: str) -> bool:
    """Whether a header of HTTP can carry *text* as it is."""
    return text.isascii() and text.isprintable() and text == text.strip()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
