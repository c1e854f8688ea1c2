"""The bodies of /files."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from headrace.api.schemas import omission, shown, view_of
from headrace.domain.files.models import File


class FileView(Struct, kw_only=True):
    """A file without its bytes. *job_id* and *step* are those that saved it; both are null for uploads."""

    id: UUID
    job_id: UUID | None
    step: str | None
    name: str
    media_type: str
    size: int
    sha256: str
    created_at: datetime
    owner_id: UUID
    meta: dict[str, Any]
    meta_omitted: bool | UnsetType = UNSET
    """True in a list if *meta* has more than 64 KiB, or does not fit into the list's 8 MiB.

    Then it is empty there, and the file itself has it.
    """

    @classmethod
    def of(cls, file: File) -> "FileView":
        return view_of(
            cls, file, sha256=file.sha256.hex(), meta=shown(file.meta), meta_omitted=omission(file.meta)
        )


class PatchFile(Struct, forbid_unknown_fields=True):
    """The body of PATCH /files/{id}. Absent fields stay; a null in *meta* removes its key."""

    name: Annotated[str, Meta(min_length=1, max_length=255)] | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = UNSET
