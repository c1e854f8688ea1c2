"""Reads tones at Tone3000 in the name of a user who has connected an account there."""

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

_PAGE: Final = 100
_MOST_PAGES: Final = 10


class Maker(Struct, frozen=True):
    """Who made a tone."""

    username: str
    url: str | None = None


class Tone(Struct, frozen=True, kw_only=True):
    """One tone. *license* is Tone3000's name of it: `t3k`, `cc-by`, `cc-by-nc-sa`, ..."""

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
    """The few calls that the service makes there."""

    def __init__(
        self, provider: Tone3000Provider, connections: ProviderAccountRepository, cipher: Cipher
    ) -> None:
        self._provider = provider
        self._tokens = TokenRefresher(provider, connections, cipher)

    async def fetch_tone(self, user_id: UUID, tone_id: int) -> Tone:
        """One tone.

        Raises:
            NotConnectedError: the user has no account there that lets the service in.
            ToneNotFoundError: no such tone, or none that this user may see.
            ProviderAwayError: Tone3000 does not answer.
        """
        return await self._read(user_id, tone_id, f"/tones/{tone_id}", {}, Tone)

    async def fetch_models(self, user_id: UUID, tone_id: int) -> list[ToneModel]:
        """The models of a tone, the first thousand at most; raises as `tone` does."""
        models: list[ToneModel] = []
        for page in range(1, _MOST_PAGES + 1):
            params: dict[str, str | int] = {"tone_id": tone_id, "page": page, "page_size": _PAGE}
            found = await self._read(user_id, tone_id, "/models", params, _Models)
            models += found.data
            if page >= found.total_pages:
                break
        return models

    async def _read(
        self, user_id: UUID, tone_id: int, path: str, params: dict[str, str | int], kind: type[T]
    ) -> T:
        token = await self._tokens.access_token(user_id)
        url = self._provider.api + path
        status, body = await self._provider.link.read(url, token, params)
        if status == 401:
            token = await self._tokens.access_token(user_id, refused=token)
            status, body = await self._provider.link.read(url, token, params)
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
            raise ProviderAwayError(name, "its answer has another form") from error
