"""Ends open streams whose credential is revoked or expired, with one query for all streams every 3 s."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from headrace.adapters.periodic import run_every
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.credential_repository import CredentialRepository, StreamCredential

# Clients are promised the end of a stream within a beat (10 s) of the revocation.
_CHECK_SECONDS: Final = 3.0


class _WatchedStream(Struct, eq=False):
    user: CurrentUser
    on_revoked: Callable[[], None]


class RevocationWatch:
    """Watches the credentials of the streams in this process. `run` is its task."""

    def __init__(self, repository: CredentialRepository) -> None:
        self._repository = repository
        self._streams: set[_WatchedStream] = set()

    @contextmanager
    def watched(self, user: CurrentUser, on_revoked: Callable[[], None]) -> Iterator[None]:
        """Watch the credential of *user* for the block; call *on_revoked* once it is no longer valid."""
        stream = _WatchedStream(user, on_revoked)
        self._streams.add(stream)
        try:
            yield
        finally:
            self._streams.discard(stream)

    async def run(self) -> None:
        """Check until cancelled."""
        await run_every(_CHECK_SECONDS, self._check, jitter=0, put_off_event="standing_not_checked")

    async def _check(self) -> int:
        """Call `on_revoked` of each stream whose credential is no longer valid, and return their number."""
        ended = 0
        by_credential: dict[StreamCredential, list[_WatchedStream]] = {}
        now = datetime.now(UTC)
        for stream in list(self._streams):
            user = stream.user
            if user.expires_at is not None and user.expires_at <= now:
                stream.on_revoked()
                ended += 1
                continue
            by_credential.setdefault(_credential_of(user), []).append(stream)
            if user.maker is not None:
                by_credential.setdefault(_credential_of(user.maker), []).append(stream)
        credentials = list(by_credential)
        for index in await self._repository.revoked(credentials) if credentials else ():
            for stream in by_credential[credentials[index]]:
                stream.on_revoked()
                ended += 1
        return ended


def _credential_of(user: CurrentUser) -> StreamCredential:
    needs_admin = user.acts_as_admin and user.is_admin_by_row
    return StreamCredential(user.id, user.credential, user.credential_id, user.issued_at, needs_admin)
