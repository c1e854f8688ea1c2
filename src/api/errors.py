"""Errors that the API itself raises, in addition to those of the domain."""

from headrace.domain.errors import HeadraceError


class InvalidInputError(HeadraceError):
    """A value of the request breaks a rule that no schema expresses. *path* is where the value stands."""

    def __init__(self, path: str, message: str, code: str = "validation_failed") -> None:
        super().__init__(message)
        self.path = path
        self.code = code


class MalformedError(HeadraceError):
    """The request cannot be parsed."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class BodyTooLargeError(HeadraceError):
    """The body is larger than its route allows. *limit* is in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body of this request has at most {limit} bytes")
        self.limit = limit


class QueryTooLargeError(HeadraceError):
    """The query string is longer than any client needs, or has too many parameters."""


class OriginRefusedError(HeadraceError):
    """The request comes from a foreign page, or without the proof that it does not."""


class UnsupportedMediaTypeError(HeadraceError):
    """The media type of the body is not accepted here."""


class ReferenceGoneError(HeadraceError):
    """A referenced row was deleted while the request ran."""


class RangeError(HeadraceError):
    """The requested range contains no byte of the file. *size* is the file's."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes")
        self.size = size
