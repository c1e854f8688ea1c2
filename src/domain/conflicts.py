"""Names that are there already: a clash is an error of the domain, also when only a race made it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy.exc import IntegrityError

from headrace.domain.base import Session
from headrace.domain.errors import HeadraceError


class TakenError(HeadraceError):
    """Another object of the same owner has that name. *path* is where in a request it stands."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


@asynccontextmanager
async def translate_unique_violation(
    session: Session, constraint: str, refusal: HeadraceError
) -> AsyncGenerator[None, None]:
    """Write what the block changes; where that breaks *constraint*, undo the block and raise *refusal*.

    The session goes on: what was done before the block is still there.
    """
    try:
        async with session.begin_nested():
            yield
    except IntegrityError as error:
        if getattr(getattr(error.orig, "__cause__", None), "constraint_name", None) != constraint:
            raise
        raise refusal from error
