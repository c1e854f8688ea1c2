"""The use cases of files. The bytes are in the blob store; this service keeps the rows about them."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import Session, database_now, merge_json
from headrace.domain.errors import HeadraceError
from headrace.domain.files.models import File
from headrace.domain.files.names import check_name
from headrace.domain.files.repository import FileFilter, FileRepository
from headrace.domain.json_limits import check_size
from headrace.domain.paging import ListPage
from headrace.domain.quotas.places import require_space
from headrace.domain.quotas.quotas import NO_QUOTAS, Quotas


class FileNotFoundInStoreError(HeadraceError):
    """There is no such file within the caller's reach. A foreign file looks the same as a missing one."""

    def __init__(self, file_id: UUID) -> None:
        super().__init__(f"there is no file {file_id}")
        self.file_id = file_id


class FileService:
    """Files of jobs and uploads. Methods flush; the caller commits."""

    def __init__(self, session: Session, quotas: Quotas = NO_QUOTAS) -> None:
        self._session = session
        self._quotas = quotas
        self._repository = FileRepository(session)

    async def create(self, file: File, renew: Callable[[], Awaitable[None]]) -> File:
        """Store the row of an uploaded file, whose bytes are stored already. The caller commits at once.

        *renew* dates the bytes as new. It runs in the transaction, which PostgreSQL ends within seconds if
        this process hangs, so that the row never comes after the bytes were removed. It may be slow, so the
        owner is not locked yet.

        Raises:
            StorageQuotaExceededError: its owner may not store so many bytes more.
        """
        file.created_at = file.updated_at = await database_now(self._session)
        await renew()
        await require_space(self._session, file.owner_id, file.size, self._quotas)
        await self._repository.insert(file)
        return file

    async def get(self, file_id: UUID, reach: Reach) -> File:
        """Return a file within reach.

        Raises:
            FileNotFoundInStoreError: there is no such file within reach.
        """
        return self._existing(await self._repository.fetch(file_id, reach), file_id)

    async def get_page(self, reach: Reach, filters: FileFilter) -> ListPage[File]:
        """Return a page of the matching files within reach, and the number of all of them."""
        return await self._repository.fetch_page(reach, filters)

    async def update(
        self, file_id: UUID, reach: Reach, *, name: str | None, meta: dict[str, Any] | None
    ) -> File:
        """Rename a file, and merge *meta* into its own (a null removes its key). None changes nothing.

        Raises:
            FileNotFoundInStoreError: there is no such file within reach.
            FileNameError: a file cannot have that name.
            ValueTooLargeError: the merged meta would be too large.
        """
        file = self._existing(await self._repository.fetch(file_id, reach, lock=True), file_id)
        if name is not None:
            file.name = check_name(name)
        if meta is not None:
            merge_json(file, "meta", meta)
            check_size(file.meta, "$.meta")
        await self._session.flush()
        return file

    async def delete(self, file_id: UUID, reach: Reach) -> None:
        """Delete the row of a file. A worker removes its bytes once they are ten minutes old.

        Raises:
            FileNotFoundInStoreError: there is no such file within reach.
        """
        await self._repository.delete(await self.get(file_id, reach))

    @staticmethod
    def _existing(file: File | None, file_id: UUID) -> File:
        if file is None:
            raise FileNotFoundInStoreError(file_id)
        return file
