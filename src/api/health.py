"""/health: liveness and readiness of the process."""

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from msgspec import Struct

from headrace.api.dependencies import Services


class Health(Struct):
    """*degraded* lists the parts that are missing but not required, and chores that fail (`chore:NAME`)."""

    status: str
    degraded: list[str] = []


class HealthController(Controller):
    path = "/health"
    tags = ("health",)

    @get("/live", operation_id="live")
    async def live(self) -> Health:
        """The process answers. Nothing else is checked."""
        return Health("ok")

    @get("/ready", operation_id="ready")
    async def ready(self, services: NamedDependency[Services]) -> Response[Health]:
        """PostgreSQL and its schema are available. Otherwise `degraded`, still with 200."""
        readiness = await services.check_readiness()
        if readiness.missing:
            return Response(Health("unavailable", readiness.missing + readiness.degraded), status_code=503)
        return Response(Health("degraded" if readiness.degraded else "ok", readiness.degraded))
