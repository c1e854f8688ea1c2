"""The error of embedded servers."""

from headrace.domain.errors import HeadraceError


class ServerError(HeadraceError):
    """A server cannot be found, started, reached or stopped. The message says what to do."""
