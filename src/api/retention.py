"""/retention: how long everything is kept that grows, and how much of it there is."""

from litestar import get
from litestar.di import NamedDependency

from headrace.api.dependencies import Services
from headrace.domain.accounts.scopes import Scope
from headrace.domain.retention.report import Retention


@get(
    "/retention",
    tags=["retention"],
    operation_id="showRetention",
    scope=Scope.ADMIN,
    local_scope=Scope.JOBS_READ,
)
async def show_retention(services: NamedDependency[Services]) -> Retention:
    """Everything that grows, with its rule, its size, and the next run of its rule.

    `rows` is counted up to 10,000, and estimated beyond (`is_estimate`).
    """
    return await services.retention.build()
