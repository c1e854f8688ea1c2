"""How a job's stream is connected to, and what the end of a connection means."""

from typing import Any, Final

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from headrace_client.address import Address
from headrace_client.errors import WatchRefusedError
from headrace_client.position import GapError, Position

# The service says something at least every 10 s.
SILENCE_SECONDS: Final = 30.0
OPEN_SECONDS: Final = 10.0

LOST: Final = (OSError, TimeoutError, WebSocketException, msgspec.DecodeError, GapError)


def options(address: Address) -> dict[str, Any]:
    """What both kinds of connections are made with."""
    return {
        "additional_headers": address.headers,
        "proxy": None if address.is_local else True,
        "compression": None,
        "max_size": None,
        "close_timeout": 1,
    }


def reason(error: Exception, address: Address, position: Position) -> str:
    """Why the connection is gone, of the errors in `LOST`.

    Raises:
        WatchRefusedError: coming back is no use.
    """
    refusal: WatchRefusedError | None = None
    match error:
        case ConnectionClosed():
            close = error.rcvd
            refusal = position.refusal(close.code if close else None, close.reason if close else "")
            told = "the connection was lost"
        case InvalidStatus():
            status = error.response.status_code
            refusal = position.no_service(status)
            told = f"{address.url} answers {status}"
        case InvalidURI():
            told = f"{address.url} cannot be watched: {error}"
            refusal = WatchRefusedError(position.job_id, "not_headrace", told)
        case msgspec.DecodeError():
            told = f"what answers at {address.url} is not Headrace"
        case GapError():
            told = "an event was missing"
        case _:
            told = f"{address.url} does not answer"
    if refusal is not None:
        raise refusal from error
    return told
