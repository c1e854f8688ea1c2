"""What a shootout refuses. No heavy import here: a worker that hears of the error loads this module."""

from headrace import PermanentError


class UnusableInputError(PermanentError):
    """An input cannot be used; no retry mends that. The message names it and says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="input_invalid")


class RenderFailedError(PermanentError):
    """A chain gives nothing that one could compare. The message names the chain and the block."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="render_failed")
