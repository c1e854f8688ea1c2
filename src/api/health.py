"""/health: liveness and readiness of the process."""

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from msgspec import UNSET, Struct, UnsetType

from headrace.api.dependencies import Services


class Health(Struct):
    """*degraded* lists the services that cannot be used, and chores of workers that fail (`chore:NAME`).

    A service is `postgresql`, `redis` or `storage`. If it answers, a colon and what is wrong follow, such as
    `read-only`, `full`, `out of connections`, `slow`, `wrong password` or `missing rights`.

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
        """PostgreSQL and its schema are available, and PostgreSQL accepts writes.

        Without the other services it is `degraded`, still with 200.
        """
        readiness = await services.check_readiness()
        if readiness.missing:
            detail = UNSET if readiness.schema_fault is None else str(readiness.schema_fault)
            health = Health("unavailable", readiness.missing + readiness.degraded, detail)
            return Response(health, status_code=503)
        return Response(Health("degraded" if readiness.degraded else "ok", readiness.degraded))
