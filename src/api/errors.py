"""What the API itself refuses, beside what the domain does."""

from headrace.domain.errors import HeadraceError


class InvalidInputError(HeadraceError):
    """A part of the request is wrong in a way that no schema says."""

    def __init__(self, path: str, message: str, code: str = "validation_failed") -> None:
        super().__init__(message)
        self.path = path
        self.code = code


class MalformedError(HeadraceError):
    """The request cannot be read at all."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class UnsupportedMediaTypeError(HeadraceError):
    """The body is of a kind that is not taken here."""


class ReferenceGoneError(HeadraceError):
    """Something that the request builds on was deleted while it ran."""


class RangeError(HeadraceError):
    """Nothing of the file is in the range that was asked for."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes")
        self.size = size
