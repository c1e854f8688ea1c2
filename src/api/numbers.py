"""/stats, /queues and /workers: the numbers of jobs, what waits and runs, and who runs it."""

import re
from datetime import timedelta
from typing import Annotated, Final

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from headrace.api.dependencies import Services
from headrace.api.errors import InvalidInputError
from headrace.api.schemas import Items
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope
from headrace.domain.queues.models import QueueNumbers, ScalingNumbers
from headrace.domain.queues.repository import QueueRepository
from headrace.domain.statistics.models import JobStatistics
from headrace.domain.statistics.repository import StatisticsRepository
from headrace.domain.workers.directory import ALIVE_WITHIN
from headrace.domain.workers.repository import LiveWorker, WorkerRepository

_WINDOW: Final = re.compile(r"(?P<count>[1-9][0-9]{0,4})(?P<unit>[smhd])")
_UNITS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_SHORTEST: Final = timedelta(minutes=1)
_LONGEST: Final = timedelta(hours=24)
_MAX_SLOTS: Final = 10_000
Window = Annotated[str, QueryParameter(schema_extra={"pattern": "^[1-9][0-9]{0,4}[smhd]$"})]


class NumbersController(Controller):
    """Numbers of the caller's jobs; for admins, and their keys with `metrics:read`, of all users."""

    tags = ("numbers",)

    @get("/stats", operation_id="showStats", scope=Scope.JOBS_READ)
    async def stats(
        self,
        current_user: NamedDependency[CurrentUser],
        services: NamedDependency[Services],
        window: Window = "1h",
        pipeline: Annotated[str | None, QueryParameter(max_length=64)] = None,
    ) -> JobStatistics:
        """How many jobs are in each state, and how many ended in the last minutes or hours, and how fast.

        Counts are exact up to 10,000, and PostgreSQL's estimates beyond that, which `..._is_estimate` says.
        Rates and percentiles are those of the jobs that ended within *window*, of 1m to 1d. If more than
        10,000 did, they are those of the newest 10,000: `measured_seconds` says how far that looks back.
        """
        repository = StatisticsRepository(services.numbers)
        return await repository.fetch(current_user.numbers_of, _parse_window(window), pipeline)

    @get("/queues", operation_id="listQueues", scope=Scope.JOBS_READ)
    async def queues(
        self, current_user: NamedDependency[CurrentUser], services: NamedDependency[Services]
    ) -> Items[QueueNumbers]:
        """The queues that have queued or running jobs, or that a live worker serves, by name."""
        workers = await WorkerRepository(services.numbers).fetch_live(ALIVE_WITHIN, current_user.id)
        queues = await QueueRepository(services.numbers).fetch_queues(
            current_user.numbers_of, [worker.queues for worker in workers]
        )
        return Items(queues)

    @get(
        "/queues/{name:str}/scaling",
        operation_id="showScaling",
        scope=Scope.METRICS_READ,
        local_scope=Scope.JOBS_READ,
    )
    async def scaling(
        self,
        name: FromPath[str],
        services: NamedDependency[Services],
        slots: Annotated[int, QueryParameter(ge=1, le=_MAX_SLOTS)] = 50,
    ) -> ScalingNumbers:
        """How many workers a queue needs, for an autoscaler such as KEDA, whose workers have so many *slots*.

        All numbers are 0 for a queue that nobody uses.
        """
        return await QueueRepository(services.numbers).fetch_scaling(name, slots)

    @get("/workers", operation_id="listWorkers", scope=Scope.JOBS_READ)
    async def workers(
        self, current_user: NamedDependency[CurrentUser], services: NamedDependency[Services]
    ) -> Items[LiveWorker]:
        """The live workers, each with those of the caller's jobs that it runs; for admins with all."""
        repository = WorkerRepository(services.numbers)
        return Items(await repository.fetch_live(ALIVE_WITHIN, current_user.reach.owner_id))


def _parse_window(window: str) -> timedelta:
    match = _WINDOW.fullmatch(window)
    length = timedelta() if match is None else int(match["count"]) * _UNITS[match["unit"]]
    if not _SHORTEST <= length <= _LONGEST:
        raise InvalidInputError("query.window", "window is a time from 1m to 1d, such as 90s, 15m or 6h")
    return length
