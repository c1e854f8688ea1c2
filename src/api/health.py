"""/health: is the process alive, and can it serve."""

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from msgspec import Struct

from headrace.api.dependencies import Services


class Health(Struct):
    """*degraded* names what is away and can be done without."""

    status: str
    degraded: list[str] = []


class HealthController(Controller):
    path = "/health"
    tags = ("health",)

    @get("/live", operation_id="live")
    async def live(self) -> Health:
        """The process answers; nothing else is asked."""
        return Health("ok")

    @get("/ready", operation_id="ready")
    async def ready(self, services: NamedDependency[Services]) -> Response[Health]:
        """PostgreSQL and its schema are there. Without Redis or workers it is `degraded`, and still 200."""
        found = await services.check_readiness()
        if found.missing:
            return Response(Health("unavailable", found.missing + found.degraded), status_code=503)
        return Response(Health("degraded" if found.degraded else "ok", found.degraded))
