"""/files: streamed in, served in ranges."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import anyio
from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream
from uuid_utils.compat import uuid7

from api.dependencies import AfterCommit, Services
from api.multipart import Upload
from api.problems import RangeError
from api.ranges import UnsatisfiableRangeError, parse_range
from api.schemas import file_view
from domain.accounts.caller import CurrentUser
from domain.accounts.scopes import Scope
from domain.events.types import FileSummary
from domain.files.models import File
from domain.files.names import check_media_type, check_name
from domain.files.service import FileNotFoundInStoreError, FileService

_CHUNK: Final = 256 * 1024


class FileController(Controller):
    path = "/files"
    tags = ("files",)

    @post(operation_id="uploadFile", scope=Scope.FILES_WRITE, request_max_body_size=None)
    async def upload(
        self,
        request: Request[Any, Any, Any],
        current_user: NamedDependency[CurrentUser],
        file_service: NamedDependency[FileService],
        services: NamedDependency[Services],
    ) -> FileSummary:
        """Store one file, sent as the multipart field `file`."""
        file_id = uuid7()
        upload = Upload(request, services.settings.max_file_bytes)
        stored = await services.blobs.put_stream(file_id, upload.chunks())
        try:
            file = await file_service.add(
                File(
                    id=file_id,
                    owner_id=current_user.id,
                    name=check_name(upload.name),
                    media_type=check_media_type(upload.media_type),
                    size=stored.size,
                    sha256=stored.sha256,
                )
            )
        except BaseException:
            services.blobs.remove(file_id)
            raise
        return file_view(file)

    @get("/{file_id:uuid}", operation_id="getFile", scope=Scope.FILES_READ, job_token=True)
    async def show(
        self,
        file_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        file_service: NamedDependency[FileService],
    ) -> FileSummary:
        """What is known of a file."""
        return file_view(await file_service.find(file_id, current_user.reach))

    @get("/{file_id:uuid}/content", operation_id="downloadFile", scope=Scope.FILES_READ, job_token=True)
    async def content(
        self,
        request: Request[Any, Any, Any],
        file_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        file_service: NamedDependency[FileService],
        services: NamedDependency[Services],
    ) -> Response[Any]:
        """The bytes, or the one range of them that is asked for."""
        file = await file_service.find(file_id, current_user.reach)
        path = services.blobs.path(file.id, file.sha256)
        if not await anyio.Path(path).is_file():
            raise FileNotFoundInStoreError(file_id)
        digest = file.sha256.hex()
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": f'"{digest}"',
            # A page that somebody uploaded must not run with our origin's rights.
            "Content-Security-Policy": "sandbox allow-scripts",
            "X-Content-Type-Options": "nosniff",
            "Content-Disposition": f"inline; filename*=UTF-8''{quote(file.name, safe='')}",
        }
        if f'"{digest}"' in request.headers.get("if-none-match", ""):
            return Response(None, status_code=304, headers=headers)
        condition = request.headers.get("if-range")
        wanted = request.headers.get("range") if condition in (None, f'"{digest}"') else None
        try:
            part = parse_range(wanted, file.size)
        except UnsatisfiableRangeError as error:
            raise RangeError(file.size) from error
        first, end = part or (0, file.size)
        headers["Content-Length"] = str(end - first)
        if part is not None:
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{file.size}"
        return Stream(
            _read(path, first, end),
            status_code=206 if part is not None else 200,
            media_type=file.media_type,
            headers=headers,
        )

    @delete("/{file_id:uuid}", operation_id="deleteFile", scope=Scope.FILES_WRITE)
    async def remove(
        self,
        file_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        file_service: NamedDependency[FileService],
        services: NamedDependency[Services],
        after_commit: NamedDependency[AfterCommit],
    ) -> None:
        """Delete a file."""
        await file_service.remove(file_id, current_user.reach)
        after_commit.add(lambda: services.blobs.remove(file_id))


async def _read(path: Path, first: int, end: int) -> AsyncIterator[bytes]:
    async with await anyio.open_file(path, "rb") as opened:
        await opened.seek(first)
        left = end - first
        while left > 0 and (chunk := await opened.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk
