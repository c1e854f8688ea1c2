"""The quotas of each user, and the errors of requests that would exceed one. Pure."""

from typing import Final, Literal

from msgspec import Struct

from headrace.domain.errors import HeadraceError

QuotaName = Literal["queued_jobs", "running_jobs", "stored_bytes", "uploads", "streams", "requests"]

_RETRY_SECONDS: Final = 5
_RULES: Final[dict[QuotaName, str]] = {
    "queued_jobs": "a user has at most {} jobs queued",
    "running_jobs": "a user has at most {} jobs queued or running",
    "stored_bytes": "the files of a user have at most {} bytes together",
    "uploads": "a user uploads at most {} files at once",
    "streams": "a user has at most {} streams open at once",
    "requests": "a user sends at most {} requests a second",
}


class Quotas(Struct, frozen=True, kw_only=True):
    """The limits that hold for each user. 0 means no limit.

    *running_jobs* counts the queued jobs as well, because each of them will run.
    """

    queued_jobs: int = 0
    running_jobs: int = 0
    stored_bytes: int = 0
    uploads: int = 0
    streams: int = 0
    requests: int = 0

    @property
    def limit_jobs(self) -> bool:
        """Whether a submission has to be compared with the unfinished jobs of its owner."""
        return bool(self.queued_jobs or self.running_jobs)


NO_QUOTAS: Final = Quotas()


class QuotaUsage(Struct, frozen=True):
    """How much of a quota is used: *used* of *limit*."""

    used: int
    limit: int


class QuotaExceededError(HeadraceError):
    """The request would exceed a quota of its user, of which *used* are used up already."""

    def __init__(
        self, quota: QuotaName, used: int, limit: int, *, retry_seconds: int = _RETRY_SECONDS
    ) -> None:
        super().__init__(f"{_RULES[quota].format(limit)}; {used} are in use")
        self.quota = quota
        self.used = used
        self.limit = limit
        self.retry_seconds = retry_seconds


class StorageQuotaExceededError(QuotaExceededError):
    """The file would exceed the bytes that its owner may store. A retry cannot help."""

    def __init__(self, used: int, limit: int) -> None:
        super().__init__("stored_bytes", used, limit)
