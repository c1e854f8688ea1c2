"""Keeps the access tokens of users at a provider fresh, with one refresh for concurrent callers."""

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
_MAX_REREADS: Final = 5
_REREAD_SECONDS: Final = 0.2


class RefreshingProvider(Protocol):
    """A provider that issues refresh tokens."""

    name: str

    async def refresh(self, refresh_token: str) -> ProviderTokens:
        """Exchange a refresh token for new tokens.

        Raises:
            CodeRefusedError: the provider refuses the token.
            ProviderAwayError: the provider does not answer.
        """


class _StoredTokens(Struct, frozen=True):
    account: ProviderAccount
    tokens: ProviderTokens


def encrypt_tokens(
    cipher: Cipher, provider: str, subject: str, tokens: ProviderTokens | None
) -> bytes | None:
    """Encrypt tokens for storage, so that they can be decrypted only in the row of that identity."""
    if tokens is None:
        return None
    return cipher.encrypt(msgspec.json.encode(tokens), _associated_data(provider, subject))


class TokenRefresher:
    """Reads and refreshes the tokens of *provider*. A refresh token works once, so its use is serialised."""

    def __init__(
        self, provider: RefreshingProvider, accounts: ProviderAccountRepository, cipher: Cipher
    ) -> None:
        self._provider = provider
        self._accounts = accounts
        self._cipher = cipher
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def access_token(self, user_id: UUID, refused: str | None = None) -> str:
        """Return an access token of the user that is valid for a minute or more and is not *refused*.

        Raises:
            NotConnectedError: the user has no tokens, or they cannot be refreshed.
            ProviderAwayError: the provider does not answer.
        """
        stored = await self._read(user_id)
        if _is_fresh(stored.tokens, refused):
            return stored.tokens.access_token
        lock = self._locks.setdefault(user_id, asyncio.Lock())
        async with lock:
            stored = await self._read(user_id)
            if _is_fresh(stored.tokens, refused):
                return stored.tokens.access_token
            return await self._refresh(user_id, stored)

    async def _read(self, user_id: UUID) -> _StoredTokens:
        name = self._provider.name
        account = await self._accounts.fetch(name, user_id)
        if account is None:
            raise NotConnectedError(name)
        try:
            plain = self._cipher.decrypt(account.tokens, _associated_data(name, account.subject))
            return _StoredTokens(account, msgspec.json.decode(plain, type=ProviderTokens))
        except (DecryptionError, msgspec.MsgspecError) as error:
            raise NotConnectedError(name) from error

    async def _refresh(self, user_id: UUID, stored: _StoredTokens) -> str:
        name, account = self._provider.name, stored.account
        if stored.tokens.refresh_token is None:
            raise NotConnectedError(name)
        try:
            tokens = await self._provider.refresh(stored.tokens.refresh_token)
        except CodeRefusedError as error:
            return await self._await_concurrent_refresh(user_id, stored, error)
        encrypted = encrypt_tokens(self._cipher, name, account.subject, tokens)
        if not await self._accounts.replace_tokens(account, encrypted):
            _log.info("provider_tokens_replaced_meanwhile", provider=name)
        return tokens.access_token

    async def _await_concurrent_refresh(
        self, user_id: UUID, stored: _StoredTokens, error: CodeRefusedError
    ) -> str:
        """Return the token of another process that has used the same refresh token at the same time."""
        for _ in range(_MAX_REREADS):
            newer = await self._read(user_id)
            if newer.account.tokens != stored.account.tokens:
                return newer.tokens.access_token
            await asyncio.sleep(_REREAD_SECONDS)
        await self._accounts.replace_tokens(stored.account, None)
        raise NotConnectedError(self._provider.name) from error


def _is_fresh(tokens: ProviderTokens, refused: str | None) -> bool:
    if tokens.access_token == refused:
        return False
    return tokens.expires_at is None or time.time() < tokens.expires_at - _EARLY_SECONDS


def _associated_data(provider: str, subject: str) -> str:
    return f"identities.tokens {provider} {subject}"
