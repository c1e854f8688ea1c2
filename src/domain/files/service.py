"""What people do with files. The bytes are the blob store's; here is what is known of them."""

import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService

from domain.errors import HeadraceError
from domain.files.models import File
from domain.files.repository import FileRepository

_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]{1,63}/[\w!#$&^.+-]{1,63}", re.ASCII)
_LONGEST_NAME: Final = 255
_FALLBACK: Final = "application/octet-stream"


class FileNotFoundInStoreError(HeadraceError):
    """There is no such file, or it is somebody else's: the two look the same."""

    def __init__(self, file_id: UUID) -> None:
        super().__init__(f"there is no file {file_id}")
        self.file_id = file_id


class FileNameError(HeadraceError):
    """That cannot be the name of a file."""

    def __init__(self) -> None:
        super().__init__("a file's name has 1 to 255 bytes, and no slash, backslash or control character")


def check_name(name: str) -> str:
    """Return *name* when it can be a file's name on any system, alone.

    Raises:
        FileNameError: it cannot.
    """
    ok = name.strip() and name not in (".", "..") and not re.search(r"[/\\\x00-\x1f\x7f]", name)
    try:
        short = len(name.encode()) <= _LONGEST_NAME
    except UnicodeEncodeError:
        short = False
    if not (ok and short):
        raise FileNameError
    return name


def check_media_type(media_type: str) -> str:
    """*media_type* without parameters, or the type of unknown bytes when it is none."""
    bare = media_type.partition(";")[0].strip().lower()
    return bare if _MEDIA_TYPE.fullmatch(bare) else _FALLBACK


class FileService(SQLAlchemyAsyncRepositoryService[File, FileRepository]):
    """Methods flush and never commit: whoever opened the transaction ends it."""

    repository_type = FileRepository

    async def add(self, file: File) -> File:
        """Make an uploaded file known; its bytes are stored already."""
        file.created_at = file.updated_at = await self.repository.now()
        return await self.repository.add(file)

    async def find(self, file_id: UUID, owner_id: UUID) -> File:
        """A file of that owner.

        Raises:
            FileNotFoundInStoreError: none, or somebody else's.
        """
        found = await self.repository.owned(file_id, owner_id)
        if found is None:
            raise FileNotFoundInStoreError(file_id)
        return found

    async def remove(self, file_id: UUID, owner_id: UUID) -> None:
        """Forget a file; its bytes are to be removed after the commit.

        Raises:
            FileNotFoundInStoreError: none, or somebody else's.
        """
        await self.repository.session.delete(await self.find(file_id, owner_id))
        await self.repository.session.flush()

    async def of_job(self, job_id: UUID, limit: int, offset: int) -> tuple[Sequence[File], int]:
        return await self.repository.of_job(job_id, limit, offset)
