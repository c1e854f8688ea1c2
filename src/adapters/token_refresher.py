"""A user's access token at a provider, renewed in time: once, however many ask for it."""

import asyncio
import time
from typing import Final, Protocol
from uuid import UUID
from weakref import WeakValueDictionary

import msgspec
import structlog
from msgspec import Struct

from headrace.adapters.cipher import Cipher, DecryptionError
from headrace.domain.accounts.profile import ProviderTokens
from headrace.domain.accounts.provider_account_repository import ProviderAccount, ProviderAccountRepository
from headrace.domain.accounts.sign_in_errors import CodeRefusedError, NotConnectedError

_log = structlog.get_logger(__name__)

_EARLY_SECONDS: Final = 60.0
_LOOKS: Final = 5
_LOOK_SECONDS: Final = 0.2


class RefreshingProvider(Protocol):
    """A provider that gives refresh tokens."""

    name: str

    async def renew(self, refresh_token: str) -> ProviderTokens:
        """New tokens for an old refresh token.

        Raises:
            CodeRefusedError: it is not taken.
            ProviderAwayError: there is no answer.
        """


class _Kept(Struct, frozen=True):
    connection: ProviderAccount
    tokens: ProviderTokens


def encrypt_tokens(
    cipher: Cipher, provider: str, subject: str, tokens: ProviderTokens | None
) -> bytes | None:
    """Tokens as they are kept: they open in the row of that identity alone."""
    if tokens is None:
        return None
    return cipher.encrypt(msgspec.json.encode(tokens), _associated_data(provider, subject))


class TokenRefresher:
    """Keeps the tokens of *provider* fresh. A refresh token is used once, so two must never use it."""

    def __init__(
        self, provider: RefreshingProvider, connections: ProviderAccountRepository, cipher: Cipher
    ) -> None:
        self._provider = provider
        self._connections = connections
        self._cipher = cipher
        self._lines: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def access_token(self, user_id: UUID, refused: str | None = None) -> str:
        """An access token of that user for another minute at least; another than *refused*.

        Raises:
            NotConnectedError: there is none, and none can be had.
            ProviderAwayError: the provider does not answer.
        """
        kept = await self._read(user_id)
        if _is_fresh(kept.tokens, refused):
            return kept.tokens.access_token
        line = self._lines.setdefault(user_id, asyncio.Lock())
        async with line:
            kept = await self._read(user_id)
            if _is_fresh(kept.tokens, refused):
                return kept.tokens.access_token
            return await self._renew(user_id, kept)

    async def _read(self, user_id: UUID) -> _Kept:
        name = self._provider.name
        connection = await self._connections.fetch(name, user_id)
        if connection is None:
            raise NotConnectedError(name)
        try:
            plain = self._cipher.decrypt(connection.tokens, _associated_data(name, connection.subject))
            return _Kept(connection, msgspec.json.decode(plain, type=ProviderTokens))
        except (DecryptionError, msgspec.MsgspecError) as error:
            raise NotConnectedError(name) from error

    async def _renew(self, user_id: UUID, kept: _Kept) -> str:
        name, connection = self._provider.name, kept.connection
        if kept.tokens.refresh_token is None:
            raise NotConnectedError(name)
        try:
            tokens = await self._provider.renew(kept.tokens.refresh_token)
        except CodeRefusedError as error:
            return await self._of_another(user_id, kept, error)
        sealed = encrypt_tokens(self._cipher, name, connection.subject, tokens)
        if not await self._connections.replace_tokens(connection, sealed):
            _log.info("provider_tokens_replaced_meanwhile", provider=name)
        return tokens.access_token

    async def _of_another(self, user_id: UUID, kept: _Kept, error: CodeRefusedError) -> str:
        """The token that another process was given for the same refresh token, at the same time."""
        for _ in range(_LOOKS):
            newer = await self._read(user_id)
            if newer.connection.tokens != kept.connection.tokens:
                return newer.tokens.access_token
            await asyncio.sleep(_LOOK_SECONDS)
        await self._connections.replace_tokens(kept.connection, None)
        raise NotConnectedError(self._provider.name) from error


def _is_fresh(tokens: ProviderTokens, refused: str | None) -> bool:
    if tokens.access_token == refused:
        return False
    return tokens.expires_at is None or time.time() < tokens.expires_at - _EARLY_SECONDS


def _associated_data(provider: str, subject: str) -> str:
    return f"identities.tokens {provider} {subject}"
