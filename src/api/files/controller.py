"""/files: streamed uploads, and downloads in ranges."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import anyio
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Stream
from msgspec import UNSET
from uuid_utils.compat import uuid7

from headrace.api.auth.audit import AuditNote
from headrace.api.auth.request_info import RequestInfo
from headrace.api.dependencies import Services
from headrace.api.errors import RangeError
from headrace.api.files.disposition import VARIES_BY, disposition_of
from headrace.api.files.multipart import Upload
from headrace.api.files.ranges import UnsatisfiableRangeError, parse_range
from headrace.api.files.schemas import FileView, PatchFile
from headrace.api.middleware.request_bodies import VALUE_BODY
from headrace.api.query_params import IdText, Search, parse_after, parse_order_by, parse_uuid, sort_options
from headrace.api.schemas import After, Limit, Offset, Page, Reference, page_view
from headrace.api.timestamps import TimestampText, parse_timestamp
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope
from headrace.domain.files.models import File
from headrace.domain.files.names import check_media_type, check_name
from headrace.domain.files.repository import SORT_COLUMNS, FileFilter
from headrace.domain.files.service import FileNotFoundInStoreError, FileService

_CHUNK_BYTES: Final = 256 * 1024


class FileController(Controller):
    path = "/files"
    tags = ("files",)

    @post(operation_id="uploadFile", scope=Scope.FILES_WRITE, is_upload=True)
    async def upload(
        self,
        request: Request[Any, Any, Any],
        current_user: NamedDependency[CurrentUser],
        file_service: NamedDependency[FileService],
        services: NamedDependency[Services],
        audit_note: NamedDependency[AuditNote],
    ) -> FileView:
        """Store one file, sent as the multipart field `file`."""
        file_id = uuid7()
        audit_note.object_id = file_id
        upload = Upload(request, services.settings.max_file_bytes)
        with services.limits.quotas.upload(current_user.id):
            chunks = services.usage.within_quota(current_user.id, upload.chunks())
            stored = await services.blobs.put_stream(file_id, chunks)
        try:
            file = await file_service.create(
                File(
                    id=file_id,
                    owner_id=current_user.id,
                    name=check_name(upload.name),
                    media_type=check_media_type(upload.media_type),
                    size=stored.size,
                    sha256=stored.sha256,
                    blob_key=stored.key,
                ),
                renew=partial(anyio.to_thread.run_sync, services.blobs.renew, file_id, stored.key),
            )
        except BaseException:
            # What cannot be removed now, workers remove later: no row names it.
            with contextlib.suppress(OSError):
                services.blobs.remove(file_id)
            raise
        return FileView.of(file)

    @get(operation_id="listFiles", scope=Scope.FILES_READ)
    async def list_files(
        self,
        current_user: NamedDependency[CurrentUser],
        file_service: NamedDependency[FileService],
        job: IdText = None,
        search: Search = None,
        created_before: TimestampText = None,
        order_by: Annotated[str, QueryParameter(enum=sort_options(SORT_COLUMNS))] = "-created_at",
        limit: Limit = 100,
        offset: Offset = 0,
        after: After = None,
    ) -> Page[FileView]:
        """The caller's uploads and the outputs of the caller's jobs. *search* finds a part of the name.

        A search, and an order by name or size, look at the newest 50,000 files. If there are more,
        `searched_back_to` says how far they looked; `created_before` continues from there.
        """
        filters = FileFilter(
            job_id=parse_uuid("job", job),
            search=search or None,
            created_before=parse_timestamp(created_before, "query.created_before"),
            order_by=parse_order_by(order_by, SORT_COLUMNS),
            limit=limit,
            offset=offset,
            after=parse_after(after, offset),
        )
        return page_view(await file_service.get_page(current_user.reach, filters), filters, FileView.of)

    @patch("/{file_id:uuid}", operation_id="patchFile", scope=Scope.FILES_WRITE, max_body=VALUE_BODY)
    async def change(
        self,
        file_id: FromPath[UUID],
        data: JSONBody[PatchFile],
        current_user: NamedDependency[CurrentUser],
        file_service: NamedDependency[FileService],
    ) -> FileView | Reference:
        """Change name or meta. Absent fields stay."""
        file = await file_service.update(
            file_id,
            current_user.reach,
            name=None if data.name is UNSET else data.name,
            meta=None if data.meta is UNSET else data.meta,
        )
        return FileView.of(file) if Scope.FILES_READ in current_user.scopes else Reference(file_id)

    @get("/{file_id:uuid}", operation_id="getFile", scope=Scope.FILES_READ, job_token=True, tagged=True)
    async def show(
        self,
        file_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        file_service: NamedDependency[FileService],
    ) -> FileView:
        """One file, without its bytes."""
        return FileView.of(await file_service.get(file_id, current_user.reach))

    @get("/{file_id:uuid}/content", operation_id="downloadFile", scope=Scope.FILES_READ, job_token=True)
    async def content(
        self,
        request: Request[Any, Any, Any],
        file_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        file_service: NamedDependency[FileService],
        services: NamedDependency[Services],
    ) -> Response[Any]:
        """The bytes of a file, or the requested range of them."""
        file = await file_service.get(file_id, current_user.reach)
        path = await anyio.to_thread.run_sync(services.blobs.find, file.id, file.blob_key)
        if path is None:
            raise FileNotFoundInStoreError(file_id)
        digest = file.sha256.hex()
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": f'"{digest}"',
            # An uploaded page must not run with the rights of our origin. Without `allow-same-origin` it has
            # no origin and no cookies. Only our pages may frame it; any page may embed sounds and pictures.
            "Content-Security-Policy": "sandbox allow-scripts; frame-ancestors 'self'",
            "X-Frame-Options": "SAMEORIGIN",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Cache-Control": "private, no-cache",
            "Content-Disposition": disposition_of(
                file.name, file.media_type, RequestInfo(request.scope), services.settings.files_host
            ),
            "Vary": VARIES_BY,
        }
        if f'"{digest}"' in request.headers.get("if-none-match", ""):
            return Response(None, status_code=304, headers=headers)
        condition = request.headers.get("if-range")
        requested = request.headers.get("range") if condition in (None, f'"{digest}"') else None
        try:
            byte_range = parse_range(requested, file.size)
        except UnsatisfiableRangeError as error:
            raise RangeError(file.size) from error
        first, end = byte_range or (0, file.size)
        headers["Content-Length"] = str(end - first)
        if byte_range is not None:
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{file.size}"
        return Stream(
            _read(path, first, end),
            status_code=206 if byte_range is not None else 200,
            media_type=file.media_type,
            headers=headers,
        )

    @delete("/{file_id:uuid}", operation_id="deleteFile", scope=Scope.FILES_WRITE)
    async def remove(
        self,
        file_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        file_service: NamedDependency[FileService],
    ) -> None:
        """Delete a file. A worker removes its bytes once they are ten minutes old."""
        await file_service.delete(file_id, current_user.reach)


async def _read(path: Path, first: int, end: int) -> AsyncIterator[bytes]:
    async with await anyio.open_file(path, "rb") as opened:
        await opened.seek(first)
        remaining = end - first
        while remaining > 0 and (chunk := await opened.read(min(_CHUNK_BYTES, remaining))):
            remaining -= len(chunk)
            yield chunk
