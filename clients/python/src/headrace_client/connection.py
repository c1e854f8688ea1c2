"""The options of a connection to a job's stream, and the reason why one was lost."""

from typing import Any, Final

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from headrace_client.address import Address
from headrace_client.errors import WatchRefusedError
from headrace_client.position import GapError, Position

# The service sends a frame at least every 10 s.
SILENCE_SECONDS: Final = 30.0
OPEN_SECONDS: Final = 10.0

LOST: Final = (OSError, TimeoutError, WebSocketException, msgspec.DecodeError, GapError)


def options(address: Address) -> dict[str, Any]:
    """Return the options that blocking and asynchronous connections share."""
    return {
        "additional_headers": address.headers,
        "proxy": None if address.is_local else True,
        "compression": None,
        "max_size": None,
        "close_timeout": 1,
    }


def reason(error: Exception, address: Address, position: Position) -> str:
    """Return why the connection was lost. *error* is one of those in `LOST`.

    Raises:
        WatchRefusedError: a reconnect does not help.
    """
    refusal: WatchRefusedError | None = None
    match error:
        case ConnectionClosed():
            close = error.rcvd
            refusal = position.refusal(close.code if close else None, close.reason if close else "")
            text = "the connection was lost"
        case InvalidStatus():
            status = error.response.status_code
            refusal = position.no_service(status)
            text = f"{address.url} answers {status}"
        case InvalidURI():
            text = f"{address.url} cannot be watched: {error}"
            refusal = WatchRefusedError(position.job_id, "not_headrace", text)
        case msgspec.DecodeError():
            text = f"the server at {address.url} is not Headrace"
        case GapError():
            text = "an event was missing"
        case _:
            text = f"{address.url} does not answer"
    if refusal is not None:
        raise refusal from error
    return text
