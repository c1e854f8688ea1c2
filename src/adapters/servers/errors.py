"""What can keep a server from running here."""

from headrace.domain.errors import HeadraceError


class ServerError(HeadraceError):
    """A server cannot be found, started, reached or stopped; the message says what to do."""
