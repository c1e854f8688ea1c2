"""Middleware that rate-limits, authenticates and authorises each request before its handler runs.

Routes are closed by default: a route must name the scope that it needs in its `opt`, or be in `PUBLIC`.
Otherwise the service does not start.
"""

from collections.abc import Iterable
from typing import Any, Final

import structlog
from litestar import WebSocket
from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.routes import HTTPRoute, WebSocketRoute
from litestar.types import ASGIApp, Receive, Send
from litestar.types import Scope as AsgiScope

from headrace.adapters.fair_turns import CALLER
from headrace.api.auth.authentication import Authenticator
from headrace.api.auth.local_mode import LocalHosts
from headrace.api.auth.origins import Origins
from headrace.api.auth.request_info import RequestInfo
from headrace.api.database_errors import DATABASE_TROUBLE
from headrace.api.errors import OriginRefusedError, QueryTooLargeError
from headrace.api.live.socket_transport import BAD_REQUEST, refuse, refuse_unavailable, release, start_reading
from headrace.api.middleware.rate_limits import (
    RateLimitedError,
    RateLimits,
    TooManyHeadersError,
    TooManyStreamsError,
)
from headrace.api.middleware.request_checks import check_query
from headrace.api.problems import code_of
from headrace.api.server.websocket_protocol import TRY_AGAIN_LATER
from headrace.domain.accounts.caller import CurrentUser, ForbiddenError, UnauthenticatedError
from headrace.domain.accounts.scopes import Scope
from headrace.domain.database import is_outage
from headrace.domain.errors import HeadraceError
from headrace.domain.quotas.quotas import QuotaExceededError

_log = structlog.get_logger(__name__)

# Routes without authentication. A path that ends in / includes all paths below it.
PUBLIC: Final = (
    "/",
    "/asyncapi.yaml",
    "/auth/callback/{provider}",
    "/auth/login/{provider}",
    "/auth/logout",
    "/auth/refresh",
    "/docs",
    "/docs/",
    "/graphql/explore",
    "/graphql/explore/",
    "/health/live",
    "/health/ready",
    "/openapi.json",
)
_HEALTH: Final = "/health/"
UNAUTHENTICATED, FORBIDDEN = 4401, 4403


class UnguardedRouteError(HeadraceError):
    """A route neither names a scope nor is public."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} names no scope and is not public")


class Admission(ASGIMiddleware):
    """Puts the caller into the scope as `user`, or refuses the request."""

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)

    def __init__(self, origins: Origins, local_hosts: LocalHosts) -> None:
        self._origins = origins
        self._local_hosts = local_hosts

    async def handle(self, scope: AsgiScope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        limits: RateLimits = scope["litestar_app"].state.services.limits
        if is_public(scope["path_template"]):
            check_query(scope)
            request = RequestInfo(scope)
            await limits.count_address(request)
            # Probes may use any name of this machine, and learn nothing from it.
            if not scope["path_template"].startswith(_HEALTH):
                self._local_hosts.check(request)
            await next_app(scope, receive, send)
            return
        user: CurrentUser | None
        if scope["type"] == ScopeType.HTTP:
            user = await self._admit(scope, limits)
        else:
            socket = WebSocket[Any, Any, Any](scope, receive, send)
            try:
                user = await self._admit_socket(socket, limits)
            finally:
                release(socket)
        if user is None:
            return
        scope["user"] = user
        CALLER.set(user.id)
        if not _is_stream(scope):
            await next_app(scope, receive, send)
            return
        with limits.open_stream(user):
            await next_app(scope, receive, send)

    async def _admit_socket(self, socket: WebSocket[Any, Any, Any], limits: RateLimits) -> CurrentUser | None:
        # Accept before any check: a browser cannot read why a handshake was refused.
        await socket.accept()
        try:
            user = await self._admit(socket.scope, limits)
        except UnauthenticatedError as error:
            await refuse(socket, UNAUTHENTICATED, error.code)
        except (ForbiddenError, OriginRefusedError) as error:
            await refuse(socket, FORBIDDEN, str(error))
        except RateLimitedError:
            await refuse(socket, TRY_AGAIN_LATER, "rate_limited")
        except TooManyStreamsError:
            await refuse(socket, TRY_AGAIN_LATER, "too_many_streams")
        except QuotaExceededError as error:
            await refuse(socket, TRY_AGAIN_LATER, f"quota_exceeded: {error}")
        except (TooManyHeadersError, QueryTooLargeError) as error:
            await refuse(socket, BAD_REQUEST, str(error), error=code_of(error))
        except DATABASE_TROUBLE as error:
            if not is_outage(error):
                _log.warning("admission_put_off", error=type(error).__name__)
            await refuse_unavailable(socket, error)
        else:
            start_reading(socket)
            return user
        return None

    async def _admit(self, scope: AsgiScope, limits: RateLimits) -> CurrentUser:
        request = RequestInfo(scope)
        check_query(scope)
        await limits.count_address(request)
        authenticator: Authenticator = scope["litestar_app"].state.services.authenticator
        opt = scope["route_handler"].opt
        allows_job_token = "job_token" in opt
        self._local_hosts.check(request)
        authentication = await authenticator.authenticate(request, in_url=allows_job_token)
        user = authentication.user
        structlog.contextvars.bind_contextvars(user=user.username)
        if authentication.is_ambient:
            self._origins.check(request, user, is_stream=_is_stream(scope))
        # Count only now: a foreign page must not use up its visitor's permits.
        await limits.count_user(request, user)
        if user.credential == "job_token" and not allows_job_token:
            raise ForbiddenError("a job token is good for watching its job, and for nothing else")
        if "scope" in opt:
            # In local mode there is one user, who is no admin: some routes are for that user as well.
            is_local = user.credential == "local" and "local_scope" in opt
            user.needs(Scope(opt["local_scope" if is_local else "scope"]))
        if _is_stream(scope):
            limits.check_streams(user)
        return user


def _is_stream(scope: AsgiScope) -> bool:
    return scope["type"] == ScopeType.WEBSOCKET or "is_stream" in scope["route_handler"].opt


def is_public(path: str) -> bool:
    """Return whether the route needs no authentication."""
    return any(
        path == public or (public.endswith("/") and len(public) > 1 and path.startswith(public))
        for public in PUBLIC
    )


def check_routes(routes: Iterable[Any]) -> None:
    """Check that every route names a scope or is public.

    Raises:
        UnguardedRouteError: a route does neither.
    """
    for route in routes:
        if is_public(route.path_format):
            continue
        handlers: list[BaseRouteHandler]
        if isinstance(route, HTTPRoute):
            handlers = [handler for handler in route.route_handlers if handler.http_methods != {"OPTIONS"}]
        elif isinstance(route, WebSocketRoute):
            handlers = [route.route_handler]
        else:
            raise UnguardedRouteError(route.path)
        for handler in handlers:
            if "scope" not in handler.opt:
                raise UnguardedRouteError(route.path)
