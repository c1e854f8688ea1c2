"""The options of a connection to a stream, and the reason why one was lost."""

from typing import Any, Final

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from headrace_client.address import Address
from headrace_client.errors import WatchRefusedError
from headrace_client.position import GapError, Reconnects
from headrace_client.refusals import read_problem

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


def reason(error: Exception, address: Address, position: Reconnects) -> str:
    """Return why the connection was lost. *error* is one of those in `LOST`.

    Raises:
        WatchRefusedError: a reconnect does not help.
    """
    try:
        return _reason(error, address, position)
    except WatchRefusedError as refusal:
        raise refusal from error


def _reason(error: Exception, address: Address, position: Reconnects) -> str:
    match error:
        case ConnectionClosed():
            close = error.rcvd
            return position.close_reason(close.code if close else None, close.reason if close else "")
        case InvalidStatus():
            return position.status_reason(error.response.status_code, read_problem(error.response.body))
        case InvalidURI():
            text = f"{address.url} cannot be watched: {error}"
            raise WatchRefusedError(position.subject, "not_headrace", text)
        case msgspec.DecodeError():
            return f"the server at {address.url} is not Headrace"
        case GapError():
            return "an event was missing"
        case _:
            return f"{address.url} does not answer"
