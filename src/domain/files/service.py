"""What people do with files. The bytes are the blob store's; here is what is known of them."""

from collections.abc import Sequence
from uuid import UUID

from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService

from domain.accounts.reach import Reach
from domain.errors import HeadraceError
from domain.files.models import File
from domain.files.repository import FileRepository


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
        file.created_at = file.updated_at = await self.repository.now()
        return await self.repository.add(file)

    async def find(self, file_id: UUID, reach: Reach) -> File:
        """A file within reach.

        Raises:
            FileNotFoundInStoreError: none, or somebody else's.
        """
        found = await self.repository.reached(file_id, reach)
        if found is None:
            raise FileNotFoundInStoreError(file_id)
        return found

    async def remove(self, file_id: UUID, reach: Reach) -> None:
        """Forget a file; its bytes are to be removed after the commit.

        Raises:
            FileNotFoundInStoreError: none, or somebody else's.
        """
        await self.repository.session.delete(await self.find(file_id, reach))
        await self.repository.session.flush()

    async def of_job(self, job_id: UUID, limit: int, offset: int) -> tuple[Sequence[File], int]:
        return await self.repository.of_job(job_id, limit, offset)
