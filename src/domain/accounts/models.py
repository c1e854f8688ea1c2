"""Tables of users, their identities at providers, sessions and API keys, and of the audit log."""

from datetime import datetime
from typing import Any
from uuid import UUID

from advanced_alchemy.base import DefaultBase, UUIDv7AuditBase
from advanced_alchemy.types import DateTimeUTC
from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from uuid_utils.compat import uuid7

from headrace.domain.base import DATABASE_NOW


class User(UUIDv7AuditBase):
    """A person or a service that owns jobs, files, presets and tags."""

    __tablename__ = "users"
    __table_args__ = (Index("ix_users_email", text("lower(email)")),)

    username: Mapped[str] = mapped_column(String(255), unique=True)
    email: Mapped[str | None] = mapped_column(String(255), default=None)
    is_admin: Mapped[bool] = mapped_column(default=False)
    last_login_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)


class Identity(UUIDv7AuditBase):
    """A user as a provider knows it. *tokens* are the provider's own, encrypted."""

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("provider", "subject"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    provider: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(255))
    tokens: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)


class LoginAttempt(DefaultBase):
    """A sign-in that awaits the provider's callback. *state* is a digest, *secrets* are encrypted."""

    __tablename__ = "login_attempts"

    state: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    provider: Mapped[str] = mapped_column(String(64))
    secrets: Mapped[bytes] = mapped_column(LargeBinary)
    return_to: Mapped[str] = mapped_column(String(2000))
    expires_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True), index=True)


class LoginSession(UUIDv7AuditBase):
    """One sign-in. Each refresh raises *generation*: a refresh token of an older one was copied or stolen."""

    __tablename__ = "login_sessions"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    generation: Mapped[int] = mapped_column(default=0, server_default="0")
    expires_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True), index=True)
    revoked_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)


class ApiKey(UUIDv7AuditBase):
    """A credential for programs. Its text is shown once; *prefix* identifies it afterwards."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("length(digest) = 32", name="digest_length"),
        CheckConstraint("cardinality(scopes) > 0", name="some_scope"),
    )

    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(16), unique=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String(32)))
    expires_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)
    last_used_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)


class AuditEntry(DefaultBase):
    """One change by an admin. It is kept when the admin or the changed object is deleted."""

    __tablename__ = "audit_entries"
    __table_args__ = (Index("ix_audit_entries_newest", text("at DESC"), text("id DESC")),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True), insert_default=DATABASE_NOW)
    actor_id: Mapped[UUID]
    actor: Mapped[str] = mapped_column(String(255))
    action: Mapped[str] = mapped_column(String(64))
    object_id: Mapped[str | None] = mapped_column(String(255), default=None)
    detail: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True), default=None)
    request_id: Mapped[str | None] = mapped_column(String(64), default=None)
