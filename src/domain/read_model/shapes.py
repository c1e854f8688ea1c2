"""What nested reads answer: an object with what is always wanted beside it."""

from uuid import UUID

from msgspec import Struct

from headrace.domain.jobs.models import Job
from headrace.domain.presets.models import Preset


class Owner(Struct, frozen=True):
    """As much of a user as others see."""

    id: UUID
    username: str


class NamedTag(Struct, frozen=True):
    id: UUID
    name: str


class OwnedJob(Struct, frozen=True):
    """A job, whose it is, and its tags by name."""

    job: Job
    owner: Owner
    tags: list[NamedTag]


class OwnedPreset(Struct, frozen=True):
    """A preset, whose it is, and its tags by name."""

    preset: Preset
    owner: Owner
    tags: list[NamedTag]
