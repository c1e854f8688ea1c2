"""Who holds a stream open, and whether what it was opened with still counts: asked for all at once."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import structlog
from msgspec import Struct

from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.credential_repository import CredentialRepository, StreamCredential
from headrace.domain.database import TRANSIENT

_log = structlog.get_logger(__name__)

# Well within a beat.
_EVERY_SECONDS: Final = 3.0


class _Holder(Struct, eq=False):
    user: CurrentUser
    end: Callable[[], None]


class RevocationWatch:
    """Ends the streams of those who are signed out, revoked or deleted. `run` is its task."""

    def __init__(self, repository: CredentialRepository) -> None:
        self._repository = repository
        self._holders: set[_Holder] = set()

    @contextmanager
    def watched(self, user: CurrentUser, end: Callable[[], None]) -> Iterator[None]:
        """For the block: *end* is called once *user* may not watch any more."""
        holder = _Holder(user, end)
        self._holders.add(holder)
        try:
            yield
        finally:
            self._holders.discard(holder)

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            if not self._holders:
                continue
            try:
                await self._look()
            except TRANSIENT as error:
                _log.warning("standing_not_checked", reason=error.reason)

    async def _look(self) -> None:
        by_proof: dict[StreamCredential, list[_Holder]] = {}
        now = datetime.now(UTC)
        for holder in list(self._holders):
            user = holder.user
            if user.expires_at is not None and user.expires_at <= now:
                holder.end()
                continue
            needs_admin = user.acts_as_admin and user.is_admin_by_row
            held = StreamCredential(user.id, user.credential, user.credential_id, user.issued_at, needs_admin)
            by_proof.setdefault(held, []).append(holder)
        asked = list(by_proof)
        for place in await self._repository.revoked(asked):
            for holder in by_proof[asked[place]]:
                holder.end()
