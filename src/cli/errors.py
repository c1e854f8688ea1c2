"""Why a command of the client could not do what it was asked."""

from collections.abc import Sequence
from typing import Final

from headrace.domain.errors import HeadraceError

DEFAULT_URL: Final = "http://127.0.0.1:8000"
NO_VERDICT: Final = 3
"""The exit status where a job's verdict was asked for and there is none: away, refused, wrongly called."""


def watch_call(url: str, job_id: str, after: int = 0) -> str:
    """What to type to watch on from an event."""
    there = "" if url == DEFAULT_URL else f" --url {url}"
    return f"headrace watch {job_id}" + (f" --after {after}" if after else "") + there


class BadUrlError(HeadraceError):
    """HEADRACE_URL is no address of a service."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url!r} is not the URL of a service; expected something like {DEFAULT_URL}")
        self.url = url


class BadTokenError(HeadraceError):
    """A token that no header can carry."""

    def __init__(self) -> None:
        super().__init__("HEADRACE_TOKEN is no token: it holds a character that is not printable ASCII")


class UnreachableError(HeadraceError):
    """Nothing that is Headrace answers."""

    def __init__(self, url: str, reason: str | None = None) -> None:
        why = f" ({reason})" if reason else ""
        super().__init__(
            f"no service at {url}{why}; start one with: headrace up, or say where it is with --url"
            " or HEADRACE_URL"
        )
        self.url = url


class RefusedError(HeadraceError):
    """The service says no. *faults* are the places of the request that do not fit, one a line."""

    def __init__(self, detail: str, status: int, code: str, faults: Sequence[tuple[str, str]] = ()) -> None:
        lines = [f"  {path}: {message}" for path, message in faults if message != detail]
        super().__init__("\n".join([detail, *lines]))
        self.status = status
        self.code = code


class DatabaseRefusedError(HeadraceError):
    """PostgreSQL answers, and does not let us in."""

    def __init__(self, error: BaseException) -> None:
        told = (str(error) or type(error).__name__).splitlines()[0]
        super().__init__(f"HEADRACE_DATABASE_URL is refused: {told}")


class WatchRefusedError(HeadraceError):
    """This job cannot be watched: it is not there, or not ours, or has no such event."""


class GaveUpError(HeadraceError):
    """The service stayed away for too long."""

    def __init__(self, url: str, seconds: float, job_id: str, after: int) -> None:
        super().__init__(
            f"{url} has been away for {seconds:.0f} s; the job may go on."
            f" Watch on with: {watch_call(url, job_id, after)}"
        )
        self.after = after


class NoVerdictError(HeadraceError):
    """What kept `watch` from a verdict: 1 and 2 are taken by those, so it has a status of its own."""

    exit_code: Final = NO_VERDICT

    def __init__(self, reason: HeadraceError) -> None:
        super().__init__(str(reason))
        self.reason = reason
