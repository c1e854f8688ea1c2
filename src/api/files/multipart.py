"""One file of a multipart body, as it streams in."""

from collections.abc import AsyncIterator
from typing import Any, Final

from litestar import Request
from litestar.exceptions import ClientException
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from headrace.adapters.blob_store import BlobTooLargeError
from headrace.api.errors import InvalidInputError, MalformedError, UnsupportedMediaTypeError

_FIELD: Final = "file"
_OVERHEAD: Final = 64 * 1024


class Upload:
    """The multipart field `file`; *name* and *media_type* are known once its first bytes have come."""

    def __init__(self, request: Request[Any, Any, Any], max_bytes: int) -> None:
        self._request = request
        self._max_bytes = max_bytes
        self.name = ""
        self.media_type = ""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of the file.

        Raises:
            UnsupportedMediaTypeError: the body is not multipart.
            MalformedError: it is broken off or otherwise unreadable.
            InvalidInputError: there is no field `file`, or more than it.
            BlobTooLargeError: the body is longer than any file may be.
        """
        found, read = False, 0
        try:
            with self._parser() as parser:
                async for chunk in self._request.stream():
                    read += len(chunk)
                    if read > self._max_bytes + _OVERHEAD:
                        raise BlobTooLargeError(self._max_bytes)
                    for part in parser.parse(chunk):
                        if isinstance(part, MultipartSegment):
                            found = self._begin(part, found=found)
                        elif part:
                            yield bytes(part)
                if not parser.closed:
                    raise MalformedError("the multipart body breaks off")
        except MultipartError as error:
            raise MalformedError(f"the multipart body cannot be read: {error}") from error
        except ClientException as error:
            raise MalformedError("the body breaks off") from error
        if not found:
            raise InvalidInputError(
                f"$.{_FIELD}", "the file is missing: send it as the multipart field 'file'"
            )

    def _parser(self) -> PushMultipartParser:
        kind, options = parse_options_header(self._request.headers.get("content-type", ""))
        if kind != "multipart/form-data" or not options.get("boundary"):
            raise UnsupportedMediaTypeError("send the file as multipart/form-data, in the field 'file'")
        length = self._request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._max_bytes + _OVERHEAD:
            raise BlobTooLargeError(self._max_bytes)
        try:
            return PushMultipartParser(
                options["boundary"].encode("ascii"),
                max_header_size=8192,
                max_header_count=16,
                max_segment_count=2,
            )
        except (ValueError, UnicodeEncodeError) as error:
            raise MalformedError("the boundary of the multipart body is not usable") from error

    def _begin(self, segment: MultipartSegment, *, found: bool) -> bool:
        if found or segment.name != _FIELD:
            raise InvalidInputError(f"$.{segment.name}"[:200], "the only field is 'file', and it comes once")
        if not segment.filename:
            raise InvalidInputError(f"$.{_FIELD}", "the field 'file' has no filename")
        # Browsers of old sent whole paths.
        self.name = segment.filename.replace("\\", "/").rsplit("/", maxsplit=1)[-1]
        self.media_type = segment.content_type or ""
        return True
