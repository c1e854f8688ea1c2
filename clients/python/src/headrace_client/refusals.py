"""What the close codes of a socket and the statuses of an answer mean to a watch. Pure.

Both clients follow these rules. A code that is not listed means a lost connection: reconnect.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

NORMAL, POLICY_VIOLATION, GOING_AWAY, TRY_AGAIN_LATER = 1000, 1008, 1012, 1013
BAD_REQUEST, NOT_SIGNED_IN, FORBIDDEN, NOT_FOUND = 4400, 4401, 4403, 4404

FINAL_CLOSES: Final[Mapping[int, str]] = {
    BAD_REQUEST: "cursor_beyond_head",
    NOT_SIGNED_IN: "unauthenticated",
    FORBIDDEN: "forbidden",
    NOT_FOUND: "job_not_found",
}
"""The close codes after which a reconnect does not help, with the code of the error.

An `error` frame before the close has the exact code.
"""

TEMPORARY_CLOSES: Final[Mapping[int, str]] = {
    POLICY_VIOLATION: "the service closed the connection",
    GOING_AWAY: "the service stops",
    TRY_AGAIN_LATER: "the service asks to come back later",
}
"""The close codes with which the service asks for a reconnect, with what they mean if it gives no reason."""

FINAL_STATUSES: Final[Mapping[int, str]] = {401: "unauthenticated", 403: "forbidden"}
"""The statuses that need no problem document: a proxy in front of the service sends them as well."""


class Problem(msgspec.Struct):
    """The parts of a problem document that tell the service from others, and that a watch reports."""

    type: str
    code: str
    detail: str


def read_problem(body: bytes | bytearray | None) -> Problem | None:
    """Return the problem document of the service; None if *body* is something else."""
    try:
        return msgspec.json.decode(body or b"", type=Problem)
    except msgspec.DecodeError:
        return None


def is_temporary(status: int) -> bool:
    """Return whether the status of a handshake means to reconnect."""
    return status >= 500 or status in (408, 429)
