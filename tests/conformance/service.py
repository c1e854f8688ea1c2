"""The running service that all tests of a module share."""

from msgspec import Struct

from headrace.adapters.database import StatementPool
from support.harness import Api


class Service(Struct):
    """A running service, and its database."""

    api: Api
    database: StatementPool

    @property
    def url(self) -> str:
        return str(self.api.http.base_url).rstrip("/")

    async def waiting_job(self) -> str:
        """Submit a job that does not start, and return its id."""
        job = await self.api.submit("noop", run_at="2100-01-01T00:00:00Z")
        return str(job["id"])


class History(Struct):
    """A job that has ended, and the bytes of its events."""

    job_id: str
    events: list[bytes]
