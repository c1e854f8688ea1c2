"""What PostgreSQL says where another try does not help: a wrong role, password or database name."""

from collections.abc import Iterator
from contextlib import contextmanager

from asyncpg import (
    InsufficientPrivilegeError,
    InvalidAuthorizationSpecificationError,
    InvalidCatalogNameError,
)

from headrace.cli.errors import DatabaseRefusedError


@contextmanager
def refusals_told() -> Iterator[None]:
    """Turn such an error into one line.

    Raises:
        DatabaseRefusedError: instead of it.
    """
    try:
        yield
    except (
        InvalidAuthorizationSpecificationError,
        InvalidCatalogNameError,
        InsufficientPrivilegeError,
    ) as error:
        raise DatabaseRefusedError(error) from error
