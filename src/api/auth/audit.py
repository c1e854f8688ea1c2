"""What an admin changes is written down, in the transaction that changes it or before."""

from typing import Any

from litestar.connection import ASGIConnection
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from headrace.api.request_ids import current_request_id
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.models import AuditEntry

_LONGEST: int = 255


class AuditNote(Struct):
    """What a handler tells the audit log: what it made, where the path names nothing, and what was asked."""

    object_id: object = None
    detail: dict[str, Any] | None = None


def record_admin_action(
    session: AsyncSession,
    connection: ASGIConnection[Any, Any, Any, Any],
    note: AuditNote | None = None,
    *,
    action: str | None = None,
) -> None:
    """Write down what the caller does, if it acts as an admin; the path names the object, or *note* does.

    *action* None: the operation of the handler.
    """
    if not _acts_as_admin(connection):
        return
    user: CurrentUser = connection.scope["user"]
    note = note or AuditNote()
    handler = connection.route_handler
    named = next(iter(connection.path_params.values()), note.object_id)
    session.add(
        AuditEntry(
            actor_id=user.id,
            actor=user.username,
            action=action or str(getattr(handler, "operation_id", None) or handler.handler_name),
            object_id=None if named is None else str(named)[:_LONGEST],
            detail=note.detail,
            request_id=current_request_id(),
        )
    )


async def record_admin_submission(
    sessions: async_sessionmaker[AsyncSession], connection: ASGIConnection[Any, Any, Any, Any]
) -> None:
    """Write down what an admin is about to do, where that has no transaction of ours: a submission.

    So there may be an entry of a submission that is then refused, or answered as a repeated one; there is
    never one without an entry.
    """
    if _acts_as_admin(connection):
        async with sessions.begin() as session:
            record_admin_action(session, connection)


def _acts_as_admin(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    user: CurrentUser | None = connection.scope.get("user")
    return user is not None and user.acts_as_admin
