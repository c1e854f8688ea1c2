"""/metrics: the series of this API process, for Prometheus."""

import asyncio

from litestar import Response, get
from litestar.di import NamedDependency

from headrace.adapters.metrics.process_metrics import CONTENT_TYPE
from headrace.api.dependencies import Services
from headrace.domain.accounts.scopes import Scope


# Everybody in local mode is one user, who is no admin and may read everything.
@get(
    "/metrics",
    operation_id="metrics",
    include_in_schema=False,
    scope=Scope.METRICS_READ,
    local_scope=Scope.JOBS_READ,
)
async def show_metrics(services: NamedDependency[Services]) -> Response[bytes]:
    """All series of this process in the text format of Prometheus."""
    await services.metrics.prepare_scrape()
    # Thousands of series take milliseconds, which no request should wait for.
    body = await asyncio.to_thread(services.metrics.render)
    return Response(body, media_type=CONTENT_TYPE)
