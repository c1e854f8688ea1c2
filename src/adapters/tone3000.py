"""Reads tones from Tone3000 with the account of the user."""

from typing import Final, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct

from headrace.adapters.cipher import Cipher
from headrace.adapters.providers.tone3000 import Tone3000Provider
from headrace.adapters.token_refresher import TokenRefresher
from headrace.domain.accounts.provider_account_repository import ProviderAccountRepository
from headrace.domain.accounts.sign_in_errors import NotConnectedError, ProviderAwayError, ToneNotFoundError

T = TypeVar("T")

_PAGE_SIZE: Final = 100
_MAX_PAGES: Final = 10


class Maker(Struct, frozen=True):
    """The author of a tone."""

    username: str
    url: str | None = None


class Tone(Struct, frozen=True, kw_only=True):
    """One tone. *license* is Tone3000's name for it: `t3k`, `cc-by`, `cc-by-nc-sa`, ..."""

    id: int
    title: str
    license: str | None = None
    gear: str | None = None
    format: str | None = None
    url: str | None = None
    user: Maker


class ToneModel(Struct, frozen=True, kw_only=True):
    """One trained file of a tone."""

    id: int
    name: str
    size: str | None = None
    architecture_version: str | int | None = None


class _Models(Struct, frozen=True):
    data: list[ToneModel]
    total_pages: int = 1


class Tone3000:
    """A client for the calls that the service makes to Tone3000."""

    def __init__(
        self, provider: Tone3000Provider, accounts: ProviderAccountRepository, cipher: Cipher
    ) -> None:
        self._provider = provider
        self._tokens = TokenRefresher(provider, accounts, cipher)

    async def fetch_tone(self, user_id: UUID, tone_id: int) -> Tone:
        """Fetch one tone.

        Raises:
            NotConnectedError: the user has not connected an account, or has revoked access.
            ToneNotFoundError: the tone does not exist, or the user may not see it.
            ProviderAwayError: Tone3000 does not answer.
        """
        return await self._get(user_id, tone_id, f"/tones/{tone_id}", {}, Tone)

    async def fetch_models(self, user_id: UUID, tone_id: int) -> list[ToneModel]:
        """Fetch the models of a tone, at most 1,000. Raises the errors of `fetch_tone`."""
        models: list[ToneModel] = []
        for page in range(1, _MAX_PAGES + 1):
            params: dict[str, str | int] = {"tone_id": tone_id, "page": page, "page_size": _PAGE_SIZE}
            listed = await self._get(user_id, tone_id, "/models", params, _Models)
            models += listed.data
            if page >= listed.total_pages:
                break
        return models

    async def _get(
        self, user_id: UUID, tone_id: int, path: str, params: dict[str, str | int], kind: type[T]
    ) -> T:
        token = await self._tokens.access_token(user_id)
        url = self._provider.api + path
        status, body = await self._provider.client.get(url, token, params)
        if status == 401:
            token = await self._tokens.access_token(user_id, refused=token)
            status, body = await self._provider.client.get(url, token, params)
        name = self._provider.name
        if status == 401:
            raise NotConnectedError(name)
        if status in (403, 404):
            raise ToneNotFoundError(tone_id)
        if status != 200:
            raise ProviderAwayError(name, f"it answers {status}")
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ProviderAwayError(name, "its answer has an unexpected form") from error
