"""Translates broken unique constraints into errors of the domain, also when a race broke them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy.exc import IntegrityError

from headrace.domain.base import Session
from headrace.domain.errors import HeadraceError


class TakenError(HeadraceError):
    """Another object of the same owner has that name. *path* is the path of the name in the request."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


@asynccontextmanager
async def translate_unique_violation(
    session: Session, constraint: str, refusal: HeadraceError
) -> AsyncGenerator[None, None]:
    """Flush the block's changes; if they break *constraint*, undo them and raise *refusal*.

    Earlier changes of the session are kept.
    """
    try:
        async with session.begin_nested():
            yield
    except IntegrityError as error:
        if getattr(getattr(error.orig, "__cause__", None), "constraint_name", None) != constraint:
            raise
        raise refusal from error
