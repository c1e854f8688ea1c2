"""/health: liveness and readiness of the process."""

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from msgspec import UNSET, Struct, UnsetType

from headrace.api.dependencies import Services


class Health(Struct):
    """*degraded* lists the parts that are missing but not required, and chores that fail (`chore:NAME`).

    *detail* says what to do if the schema does not fit.
    """

    status: str
    degraded: list[str] = []
    detail: str | UnsetType = UNSET


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
            detail = UNSET if readiness.schema_fault is None else str(readiness.schema_fault)
            health = Health("unavailable", readiness.missing + readiness.degraded, detail)
            return Response(health, status_code=503)
        return Response(Health("degraded" if readiness.degraded else "ok", readiness.degraded))
