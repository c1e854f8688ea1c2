"""What people do with files. The bytes are the blob store's; here is what is known of them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import database_now, merge_json
from headrace.domain.errors import HeadraceError
from headrace.domain.files.models import File
from headrace.domain.files.names import check_name
from headrace.domain.files.repository import FileFilter, FileRepository
from headrace.domain.json_bounds import check_size


class FileNotFoundInStoreError(HeadraceError):
    """There is no such file, or it is somebody else's: the two look the same."""

    def __init__(self, file_id: UUID) -> None:
        super().__init__(f"there is no file {file_id}")
        self.file_id = file_id


class FileService(SQLAlchemyAsyncRepositoryService[File, FileRepository]):
    """Methods flush and never commit: whoever opened the transaction ends it."""

    repository_type = FileRepository

    async def add(self, file: File) -> File:
        """Make an uploaded file known; its bytes are stored already."""
        file.created_at = file.updated_at = await database_now(self.repository.session)
        return await self.repository.add(file)

    async def page(self, reach: Reach, wanted: FileFilter) -> tuple[Sequence[File], int]:
        return await self.repository.page(reach, wanted)

    async def patch(
        self, file_id: UUID, reach: Reach, *, name: str | None, meta: dict[str, Any] | None
    ) -> File:
        """Rename a file, lay *meta* over its own (a null removes its key); None leaves it alone.

        Raises:
            FileNotFoundInStoreError: none, or somebody else's.
            FileNameError: no file can have that name.
            ValueTooLargeError: the meta would become too large to be kept.
        """
        file = await self.find(file_id, reach, lock=True)
        if name is not None:
            file.name = check_name(name)
        if meta is not None:
            merge_json(file, "meta", meta)
            check_size(file.meta, "$.meta")
        await self.repository.session.flush()
        return file

    async def find(self, file_id: UUID, reach: Reach, *, lock: bool = False) -> File:
        """A file within reach.

        Raises:
            FileNotFoundInStoreError: none, or somebody else's.
        """
        found = await self.repository.reached(file_id, reach, lock=lock)
        if found is None:
            raise FileNotFoundInStoreError(file_id)
        return found

    async def remove(self, file_id: UUID, reach: Reach) -> None:
        """Forget a file; a worker removes its bytes soon after the commit.

        Raises:
            FileNotFoundInStoreError: none, or somebody else's.
        """
        await self.find(file_id, reach)
        await self.repository.forget(file_id)

    async def of_job(self, job_id: UUID, limit: int, offset: int) -> tuple[Sequence[File], int]:
        return await self.repository.of_job(job_id, limit, offset)
