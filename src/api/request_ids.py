"""The id of a request: read from `X-Request-Id` or generated, and bound to every line that is logged."""

import re
from typing import Any, Final
from uuid import uuid4

import structlog
from litestar.types import Scope

_VALID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_SCOPE_KEY: Final = "headrace.request_id"


def request_id_of(scope: Scope) -> str:
    """Return the id that the client sent; generate one where that is missing or malformed."""
    state: Any = scope
    if _SCOPE_KEY not in state:
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        state[_SCOPE_KEY] = sent.decode() if _VALID.fullmatch(sent) else uuid4().hex
    return str(state[_SCOPE_KEY])


def current_request_id() -> str | None:
    """Return the id of the request that is being answered; None outside of a request."""
    request_id: str | None = structlog.contextvars.get_contextvars().get("request_id")
    return request_id
