"""Queries about users, their API keys, and the audit log."""

from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from uuid_utils.compat import uuid7

from headrace.domain.accounts.models import ApiKey, AuditEntry, LoginSession, User
from headrace.domain.accounts.reach import Reach
from headrace.domain.base import DATABASE_NOW, Session
from headrace.domain.cursors import SortColumn
from headrace.domain.paging import ListPage, PageRequest, fetch_objects, scope_of, substring_pattern


class UserFilter(PageRequest, frozen=True, kw_only=True):
    """Which users to list: those whose name or e-mail contains *search*, or all."""

    search: str | None = None


class UserRepository:
    """Users are for admins only, so these queries carry no reach."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def fetch(self, user_id: UUID) -> User | None:
        """Fetch one user."""
        return (await self._session.execute(select(User).where(User.id == user_id))).scalar_one_or_none()

    async def ensure(self, username: str) -> User:
        """Fetch and lock the user of that name; the first call creates it."""
        new = {"id": uuid7(), "username": username, "created_at": DATABASE_NOW, "updated_at": DATABASE_NOW}
        await self._session.execute(insert(User).values(**new).on_conflict_do_nothing())
        statement = select(User).where(User.username == username).with_for_update(key_share=True)
        return (await self._session.execute(statement)).scalar_one()

    async def fetch_page(self, filters: UserFilter) -> ListPage[User]:
        """Fetch a page of users in the order of their names, and count all that match."""
        matching: list[ColumnElement[bool]] = []
        if filters.search:
            pattern = substring_pattern(filters.search)
            matching.append(
                or_(User.username.ilike(pattern, escape="\\"), User.email.ilike(pattern, escape="\\"))
            )
        return await fetch_objects(
            self._session,
            select(User).where(*matching),
            order=(SortColumn(User.username), SortColumn(User.id)),
            page=filters,
            scope=scope_of("users", None, filters),
        )

    async def delete(self, user: User) -> None:
        """Delete a user; the database deletes everything that the user owns."""
        await self._session.delete(user)
        await self._session.flush()

    async def revoke_sessions(self, user_id: UUID) -> None:
        """Revoke all sessions of a user that are not revoked yet."""
        active = (LoginSession.user_id == user_id, LoginSession.revoked_at.is_(None))
        changes = {"revoked_at": DATABASE_NOW, "updated_at": DATABASE_NOW}
        await self._session.execute(update(LoginSession).where(*active).values(changes))


class ApiKeyRepository:
    """Queries about API keys."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def fetch(self, key_id: UUID, reach: Reach) -> ApiKey | None:
        """Fetch a key within reach."""
        statement = select(ApiKey).where(ApiKey.id == key_id, *reach.within(ApiKey.owner_id))
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def fetch_page(self, reach: Reach, owner_id: UUID, page: PageRequest) -> ListPage[ApiKey]:
        """Fetch a page of the owner's keys within reach, newest first, and count all of them."""
        matching = (ApiKey.owner_id == owner_id, *reach.within(ApiKey.owner_id))
        return await fetch_objects(
            self._session,
            select(ApiKey).where(*matching),
            order=(
                SortColumn(ApiKey.created_at, is_descending=True),
                SortColumn(ApiKey.id, is_descending=True),
            ),
            page=page,
            scope=scope_of("api-keys", owner_id, page),
        )

    async def insert(self, key: ApiKey) -> None:
        """Insert a key, and read it back as PostgreSQL keeps it."""
        self._session.add(key)
        await self._session.flush()
        await self._session.refresh(key)

    async def delete(self, key: ApiKey) -> None:
        """Delete a key."""
        await self._session.delete(key)
        await self._session.flush()

    async def lock_owner(self, owner_id: UUID) -> None:
        """Lock the owner's row, so that its keys are counted and added by one transaction at a time."""
        # Not FOR UPDATE: that would block every submission, since each refers to the user's row.
        statement = select(User.id).where(User.id == owner_id).with_for_update(key_share=True)
        await self._session.execute(statement)

    async def count(self, owner_id: UUID) -> int:
        """Count the owner's keys."""
        statement = select(func.count()).select_from(ApiKey).where(ApiKey.owner_id == owner_id)
        return (await self._session.execute(statement)).scalar_one()


class AuditRepository:
    """Queries about the audit log. Entries are for admins only, so these queries carry no reach."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def fetch_page(self, page: PageRequest) -> ListPage[AuditEntry]:
        """Fetch a page of entries, newest first, and count all of them."""
        return await fetch_objects(
            self._session,
            select(AuditEntry),
            order=(
                SortColumn(AuditEntry.at, is_descending=True),
                SortColumn(AuditEntry.id, is_descending=True),
            ),
            page=page,
            scope=scope_of("audit-log", None, page),
        )
