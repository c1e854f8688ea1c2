"""Errors of the commands that call the service."""

from collections.abc import Sequence
from typing import Final

from headrace.cli.text import one_line
from headrace.cli.typed_command import typed_command
from headrace.domain.errors import HeadraceError

DEFAULT_URL: Final = "http://127.0.0.1:8000"
NO_VERDICT: Final = 3
"""The exit status of `watch` without a verdict: the service is away or refuses, or the usage is wrong."""

_ADVICE: Final = {
    "token_missing": "set HEADRACE_TOKEN to an API key",
    "token_invalid": "set HEADRACE_TOKEN to a valid API key",
    "token_expired": "set HEADRACE_TOKEN to a newer API key",
    "job_not_found": "list jobs with: headrace jobs",
    "file_not_found": "list files with: headrace files",
    "preset_not_found": "list presets with: headrace presets",
    "tag_not_found": "list tags with: headrace tags",
    "api_key_not_found": "list keys with: headrace keys",
    "pipeline_not_found": "list pipelines with: headrace pipelines",
    "pipeline_unknown": "list pipelines with: headrace pipelines",
    "job_not_final": "stop it first with: headrace cancel",
    "cursor_invalid": "--page takes what a page of the same list names",
    "offset_too_large": "continue with --page, which a list names",
}


def _advise(code: str, detail: str) -> str:
    """Return the sentence of the service for a refusal, with the command that helps."""
    return f"{detail}; {_ADVICE[code]}" if code in _ADVICE else detail


def watch_command(url: str, job_id: str, after: int = 0) -> str:
    """Return the command that resumes watching after an event."""
    url_option = "" if url == DEFAULT_URL else f" --url {url}"
    return f"{typed_command()} watch {job_id}" + (f" --after {after}" if after else "") + url_option


class BadUrlError(HeadraceError):
    """HEADRACE_URL is not the URL of a service."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url!r} is not the URL of a service; expected for example {DEFAULT_URL}")
        self.url = url


class BadTokenError(HeadraceError):
    """The token holds characters that an HTTP header cannot carry."""

    def __init__(self) -> None:
        super().__init__("HEADRACE_TOKEN is not a token: it holds a character that is not printable ASCII")


class UnreachableError(HeadraceError):
    """No Headrace answers at the URL."""

    def __init__(self, url: str, reason: str | None = None) -> None:
        cause = f" ({reason})" if reason else ""
        super().__init__(
            f"no service at {url}{cause}; start one with: headrace up, or give its address with --url"
            " or HEADRACE_URL"
        )
        self.url = url


class RefusedError(HeadraceError):
    """The service answers with an error. *faults* name the wrong parts of the request, one per line."""

    def __init__(self, detail: str, status: int, code: str, faults: Sequence[tuple[str, str]] = ()) -> None:
        lines = [f"  {path}: {message}" for path, message in faults if message != detail]
        super().__init__("\n".join(map(one_line, [_advise(code, detail), *lines])))
        self.status = status
        self.code = code


class DatabaseRefusedError(HeadraceError):
    """PostgreSQL answers and refuses the login, or a right is missing."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"HEADRACE_DATABASE_URL is refused: {reason.partition(chr(10))[0]}")


class WatchRefusedError(HeadraceError):
    """The job cannot be watched: it does not exist, belongs to another user, or has no such event."""


class GaveUpError(HeadraceError):
    """The service has been away for longer than --patience."""

    def __init__(self, url: str, seconds: float, job_id: str | None, after: int, reason: str = "") -> None:
        cause = f" ({reason})" if reason else ""
        message = f"{url} has been away for {seconds:.0f} s{cause}"
        if job_id is not None:
            message += f"; the job may go on. Resume with: {watch_command(url, job_id, after)}"
        super().__init__(message)
        self.after = after


class NoVerdictError(HeadraceError):
    """An error of `watch`. Statuses 1 and 2 are verdicts of the job, so it has a status of its own."""

    exit_code: Final = NO_VERDICT

    def __init__(self, reason: HeadraceError) -> None:
        super().__init__(str(reason))
        self.reason = reason
