"""Login errors of PostgreSQL that a retry cannot repair: a wrong role, password or database name."""

from collections.abc import Iterator
from contextlib import contextmanager

from asyncpg import (
    InsufficientPrivilegeError,
    InvalidAuthorizationSpecificationError,
    InvalidCatalogNameError,
)

from headrace.cli.errors import DatabaseRefusedError


@contextmanager
def translate_refusals() -> Iterator[None]:
    """Turn a login error of PostgreSQL into one line for the user.

    Raises:
        DatabaseRefusedError: in place of that error.
    """
    try:
        yield
    except (
        InvalidAuthorizationSpecificationError,
        InvalidCatalogNameError,
        InsufficientPrivilegeError,
    ) as error:
        raise DatabaseRefusedError(error) from error
