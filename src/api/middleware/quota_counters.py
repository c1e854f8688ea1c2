"""Counts the requests, streams and uploads of each user in this process, against the quotas."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from headrace.adapters.rate_limiter import LocalLimiter, whole_seconds
from headrace.domain.quotas.quotas import QuotaExceededError, Quotas, QuotaUsage

_SECOND: Final = 1.0


class QuotaCounters:
    """The counts of this process. Other API processes count by themselves."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._requests = LocalLimiter(_SECOND)
        self._uploads: Counter[UUID] = Counter()
        self.streams: Counter[UUID] = Counter()

    def count_request(self, user_id: UUID) -> None:
        """Count a request.

        Raises:
            QuotaExceededError: the user has sent as many within a second as one may.
        """
        limit = self._quotas.requests
        if not limit:
            return
        now = time.monotonic()
        permit = self._requests.acquire(str(user_id), limit, now=now)
        if not permit.is_granted:
            used = self._requests.used(str(user_id), limit, now=now)
            retry_seconds = whole_seconds(permit.retry_seconds)
            raise QuotaExceededError("requests", used, limit, retry_seconds=retry_seconds)

    def check_streams(self, user_id: UUID) -> None:
        """Check that the user may open another stream.

        Raises:
            QuotaExceededError: as many are open as one may have.
        """
        limit = self._quotas.streams
        if limit and self.streams[user_id] >= limit:
            raise QuotaExceededError("streams", self.streams[user_id], limit)

    @contextmanager
    def upload(self, user_id: UUID) -> Iterator[None]:
        """Count an upload for the block.

        Raises:
            QuotaExceededError: as many are under way as one may have.
        """
        limit = self._quotas.uploads
        if limit and self._uploads[user_id] >= limit:
            raise QuotaExceededError("uploads", self._uploads[user_id], limit)
        with held(self._uploads, user_id):
            yield

    def usage(self, user_id: UUID) -> dict[str, QuotaUsage]:
        """Return how much a user has in progress of what a quota limits."""
        quotas, usage = self._quotas, dict[str, QuotaUsage]()
        if quotas.uploads:
            usage["uploads"] = QuotaUsage(self._uploads[user_id], quotas.uploads)
        if quotas.streams:
            usage["streams"] = QuotaUsage(self.streams[user_id], quotas.streams)
        if quotas.requests:
            used = self._requests.used(str(user_id), quotas.requests, now=time.monotonic())
            usage["requests"] = QuotaUsage(used, quotas.requests)
        return usage


@contextmanager
def held(counter: Counter[UUID], user_id: UUID) -> Iterator[None]:
    """Count one of something that *user_id* has for the block."""
    counter[user_id] += 1
    try:
        yield
    finally:
        counter[user_id] -= 1
        if not counter[user_id]:
            del counter[user_id]
