"""/tone3000: tones of tone3000.com with their licences, read with the caller's account there."""

from typing import Final

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from headrace.adapters.tone3000 import Tone, ToneModel
from headrace.api.dependencies import Services
from headrace.api.schemas import view_of
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope
from headrace.domain.accounts.sign_in_errors import ProviderNotFoundError, ToneNotFoundError

# The largest number that every JSON reader keeps exact.
_MAX_TONE_ID: Final = 2**53 - 1


class MakerView(Struct):
    username: str
    url: str | None


class ToneModelView(Struct):
    id: int
    name: str
    size: str | None
    architecture: str | None


class ToneView(Struct, kw_only=True):
    """One tone. *licence*: the terms for sounds made with it, `t3k` or a Creative Commons variant."""

    id: int
    title: str
    licence: str | None
    gear: str | None
    format: str | None
    url: str | None
    user: MakerView
    models: list[ToneModelView]

    @classmethod
    def of(cls, tone: Tone, models: list[ToneModel]) -> "ToneView":
        return view_of(
            cls,
            tone,
            licence=tone.license,
            user=view_of(MakerView, tone.user),
            models=[view_of(ToneModelView, model, architecture=_architecture(model)) for model in models],
        )


class ToneController(Controller):
    path = "/tone3000/tones"
    tags = ("tone3000",)

    @get("/{tone_id:int}", operation_id="getTone", scope=Scope.JOBS_READ)
    async def show(
        self,
        tone_id: FromPath[int],
        current_user: NamedDependency[CurrentUser],
        services: NamedDependency[Services],
    ) -> ToneView:
        """One tone of Tone3000 with its licence and models, read with the caller's account there."""
        if services.tone3000 is None:
            raise ProviderNotFoundError("tone3000")
        if not 0 < tone_id <= _MAX_TONE_ID:
            raise ToneNotFoundError(tone_id)
        tone = await services.tone3000.fetch_tone(current_user.id, tone_id)
        return ToneView.of(tone, await services.tone3000.fetch_models(current_user.id, tone_id))


def _architecture(model: ToneModel) -> str | None:
    return None if model.architecture_version is None else str(model.architecture_version)
