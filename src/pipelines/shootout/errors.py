"""The errors of a shootout. This module imports nothing heavy, so that every process can load it."""

from headrace import PermanentError


class UnusableInputError(PermanentError):
    """An input cannot be used; a retry cannot help. The message names the input and the reason."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="input_invalid")


class RenderFailedError(PermanentError):
    """A chain gives no comparable sound. The message names the chain and the block."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="render_failed")
