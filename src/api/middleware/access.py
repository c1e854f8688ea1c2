"""What is asked of every request before its handler runs: how often it came, who it is, if that is enough.

Secure by default: a route that says nothing is not built. It names the scope that it needs in its `opt`, or
stands on the list of public routes.
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

from headrace.api.auth.authentication import Authenticator
from headrace.api.auth.origins import OriginRefusedError, Origins
from headrace.api.auth.request_info import RequestInfo
from headrace.api.live.socket_transport import BAD_REQUEST, refuse, refuse_unavailable
from headrace.api.middleware.rate_limits import (
    RateLimitedError,
    RateLimits,
    TooManyHeadersError,
    TooManyStreamsError,
)
from headrace.api.problems import DATABASE_ERRORS
from headrace.api.server.websocket_protocol import TRY_AGAIN_LATER
from headrace.domain.accounts.caller import CurrentUser, ForbiddenError, UnauthenticatedError
from headrace.domain.accounts.scopes import Scope
from headrace.domain.database import TRANSIENT
from headrace.domain.errors import HeadraceError

_log = structlog.get_logger(__name__)

# Who may be anybody. Paths that end in / stand for all below them.
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
UNAUTHENTICATED, FORBIDDEN = 4401, 4403


class UnguardedRouteError(HeadraceError):
    """A route says neither what it needs nor that it is public."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} names no scope and is not public")


class Admission(ASGIMiddleware):
    """Puts the caller into the scope as `user`, or refuses."""

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    async def handle(self, scope: AsgiScope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        limits: RateLimits = scope["litestar_app"].state.services.limits
        if is_public(scope["path_template"]):
            await limits.count_address(RequestInfo(scope))
            await next_app(scope, receive, send)
            return
        user: CurrentUser | None
        if scope["type"] == ScopeType.HTTP:
            user = await self._admit(scope, limits)
        else:
            user = await self._admit_socket(WebSocket(scope, receive, send), limits)
        if user is None:
            return
        scope["user"] = user
        if not _is_stream(scope):
            await next_app(scope, receive, send)
            return
        limits.stream_opened(user)
        try:
            await next_app(scope, receive, send)
        finally:
            limits.stream_closed(user)

    async def _admit_socket(self, socket: WebSocket[Any, Any, Any], limits: RateLimits) -> CurrentUser | None:
        # Accepted before anything is judged: a browser cannot read a refused handshake.
        await socket.accept()
        try:
            return await self._admit(socket.scope, limits)
        except UnauthenticatedError as error:
            await refuse(socket, UNAUTHENTICATED, error.code)
        except (ForbiddenError, OriginRefusedError) as error:
            await refuse(socket, FORBIDDEN, str(error))
        except RateLimitedError:
            await refuse(socket, TRY_AGAIN_LATER, "rate_limited")
        except TooManyStreamsError:
            await refuse(socket, TRY_AGAIN_LATER, "too_many_streams")
        except TooManyHeadersError as error:
            await refuse(socket, BAD_REQUEST, str(error))
        except (*TRANSIENT, *DATABASE_ERRORS) as error:
            _log.warning("postgresql_away", error=type(error).__name__)
            await refuse_unavailable(socket)
        return None

    async def _admit(self, scope: AsgiScope, limits: RateLimits) -> CurrentUser:
        asked = RequestInfo(scope)
        await limits.count_address(asked)
        authenticator: Authenticator = scope["litestar_app"].state.services.authenticator
        opt = scope["route_handler"].opt
        right = opt.get("job_token")
        self._origins.judge_host(asked)
        asking = await authenticator.authenticate(asked, in_url=right is not None)
        user = asking.user
        structlog.contextvars.bind_contextvars(user=user.username)
        if asking.is_ambient:
            self._origins.judge(asked, user, is_stream=_is_stream(scope))
        # Not earlier: a stranger's page must not use up its visitor's permits.
        await limits.count_user(asked, user)
        if user.credential == "job_token" and right is None:
            raise ForbiddenError("a job token is good for watching its job, and for nothing else")
        if "scope" in opt:
            user.needs(Scope(opt["scope"]))
        if _is_stream(scope):
            limits.check_streams(user)
        return user


def _is_stream(scope: AsgiScope) -> bool:
    return scope["type"] == ScopeType.WEBSOCKET or "is_stream" in scope["route_handler"].opt


def is_public(path: str) -> bool:
    """Whether anybody may ask for that route."""
    return any(
        path == public or (public.endswith("/") and len(public) > 1 and path.startswith(public))
        for public in PUBLIC
    )


def check_routes(routes: Iterable[Any]) -> None:
    """See that every route says what it needs.

    Raises:
        UnguardedRouteError: one does not.
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
