"""Records what admins change in the audit log, in the same transaction as the change, or earlier."""

from typing import Any, Final

from litestar.connection import ASGIConnection
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from headrace.api.request_ids import current_request_id
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.models import AuditEntry

_MAX_ID_LENGTH: Final = 255


class AuditNote(Struct):
    """The details that a handler adds to the audit entry of its request.

    *object_id* is the id of a created object, which the path does not name; *detail* is the request's body.
    """

    object_id: object = None
    detail: dict[str, Any] | None = None


def record_admin_action(
    session: AsyncSession,
    connection: ASGIConnection[Any, Any, Any, Any],
    note: AuditNote | None = None,
    *,
    action: str | None = None,
) -> None:
    """Add an audit entry if the caller acts as an admin.

    The entry names the object in the path, or else that of *note*, and *action*, by default the handler's
    operation id.
    """
    if not _acts_as_admin(connection):
        return
    user: CurrentUser = connection.scope["user"]
    note = note or AuditNote()
    handler = connection.route_handler
    object_id = next(iter(connection.path_params.values()), note.object_id)
    session.add(
        AuditEntry(
            actor_id=user.id,
            actor=user.username,
            action=action or str(getattr(handler, "operation_id", None) or handler.handler_name),
            object_id=None if object_id is None else str(object_id)[:_MAX_ID_LENGTH],
            detail=note.detail,
            request_id=current_request_id(),
        )
    )


async def record_admin_submission(
    sessions: async_sessionmaker[AsyncSession], connection: ASGIConnection[Any, Any, Any, Any]
) -> None:
    """Record an admin's submission before it is stored, because it is stored outside of our transactions.

    A submission that is then refused or replayed also has an entry; no stored submission lacks one.
    """
    if _acts_as_admin(connection):
        async with sessions.begin() as session:
            record_admin_action(session, connection)


def _acts_as_admin(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    user: CurrentUser | None = connection.scope.get("user")
    return user is not None and user.acts_as_admin
