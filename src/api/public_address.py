"""The service's own address, as the browser of a request knows it."""

import re
from typing import Any, Final
from urllib.parse import urlsplit

from litestar import Request

from headrace.api.auth.local_mode import is_loopback
from headrace.api.errors import MalformedError
from headrace.api.path_prefix import prefix_of

_HOST: Final = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?", re.ASCII)


def public_address(request: Request[Any, Any, Any], public_url: str | None) -> str:
    """Return the address without a slash at its end: that of the settings, or else that of the `Host` header.

    A host is http on this machine, and https elsewhere.

    Raises:
        MalformedError: the `Host` header is not a valid host.
    """
    if public_url is not None:
        parts = urlsplit(public_url)
        return f"{parts.scheme}://{parts.netloc}{prefix_of(request.scope)}"
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        raise MalformedError("the Host header is not a valid host name")
    name = host[: host.index("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return f"{'http' if is_loopback(name) else 'https'}://{host}{prefix_of(request.scope)}"
