"""What an admin changes is written down, in the transaction that changes it."""

from typing import Any

import structlog
from litestar.connection import ASGIConnection
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts.caller import CurrentUser
from domain.accounts.models import AuditEntry

_LONGEST: int = 255


def note_admin(session: AsyncSession, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Write down what the caller does, if it acts as an admin; the path names the object."""
    user: CurrentUser | None = connection.scope.get("user")
    if user is None or not user.acts_as_admin:
        return
    handler = connection.route_handler
    named = next(iter(connection.path_params.values()), None)
    session.add(
        AuditEntry(
            actor_id=user.id,
            actor=user.username,
            action=str(getattr(handler, "operation_id", None) or handler.handler_name),
            object_id=None if named is None else str(named)[:_LONGEST],
            request_id=structlog.contextvars.get_contextvars().get("request_id"),
        )
    )
