"""Reads one file from a multipart body while it streams in."""

from collections.abc import AsyncIterator
from typing import Any, Final

from litestar import Request
from litestar.exceptions import ClientException
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from headrace.adapters.blob_store import BlobTooLargeError
from headrace.api.errors import InvalidInputError, MalformedError, UnsupportedMediaTypeError
from headrace.api.files.part_names import HEADER_CHARSET, decode_text, file_name_of

_FIELD: Final = "file"
_MAX_OVERHEAD_BYTES: Final = 64 * 1024


class Upload:
    """The multipart field `file`. *name* and *media_type* are set before the first chunk is yielded."""

    def __init__(self, request: Request[Any, Any, Any], max_bytes: int) -> None:
        self._request = request
        self._max_bytes = max_bytes
        self.name = ""
        self.media_type = ""

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the file.

        Raises:
            UnsupportedMediaTypeError: the body is not multipart.
            MalformedError: the body breaks off, or cannot be parsed.
            InvalidInputError: the field `file` is missing, or the body has another field.
            BlobTooLargeError: the body is larger than the largest file.
        """
        has_begun, bytes_read = False, 0
        try:
            with self._parser() as parser:
                async for chunk in self._request.stream():
                    bytes_read += len(chunk)
                    if bytes_read > self._max_bytes + _MAX_OVERHEAD_BYTES:
                        raise BlobTooLargeError(self._max_bytes)
                    for part in parser.parse(chunk):
                        if isinstance(part, MultipartSegment):
                            self._begin(part, has_begun=has_begun)
                            has_begun = True
                        elif part:
                            yield bytes(part)
                if not parser.closed:
                    raise MalformedError("the multipart body breaks off")
        except MultipartError as error:
            # Some of these errors have their cause as a second argument.
            raise MalformedError(f"the multipart body cannot be read: {error.args[0]}") from error
        except ClientException as error:
            raise MalformedError("the body breaks off") from error
        if not has_begun:
            raise InvalidInputError(
                f"$.{_FIELD}", "the file is missing: send it as the multipart field 'file'"
            )

    def _parser(self) -> PushMultipartParser:
        media_type, options = parse_options_header(self._request.headers.get("content-type", ""))
        if media_type != "multipart/form-data" or not options.get("boundary"):
            raise UnsupportedMediaTypeError("send the file as multipart/form-data, in the field 'file'")
        length = self._request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._max_bytes + _MAX_OVERHEAD_BYTES:
            raise BlobTooLargeError(self._max_bytes)
        try:
            return PushMultipartParser(
                options["boundary"].encode("ascii"),
                max_header_size=8192,
                max_header_count=16,
                max_segment_count=2,
                header_charset=HEADER_CHARSET,
            )
        except (ValueError, UnicodeEncodeError) as error:
            raise MalformedError("the boundary of the multipart body is not usable") from error

    def _begin(self, segment: MultipartSegment, *, has_begun: bool) -> None:
        if has_begun or segment.name != _FIELD:
            raise InvalidInputError(
                f"$.{decode_text(segment.name)}"[:200], "the only field is 'file', and it comes once"
            )
        name = file_name_of(segment)
        if not name:
            raise InvalidInputError(f"$.{_FIELD}", "the field 'file' has no filename")
        self.name = name
        self.media_type = segment.content_type or ""
