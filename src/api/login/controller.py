"""/auth: sign in at a provider, refresh, sign out. These public routes check credentials themselves."""

from typing import Annotated, Any, Final, Literal

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Redirect
from litestar.status_codes import HTTP_200_OK, HTTP_204_NO_CONTENT, HTTP_302_FOUND
from msgspec import Meta, Struct

from headrace.api.auth.authentication import ACCESS_COOKIE, bearer_of
from headrace.api.auth.request_info import RequestInfo
from headrace.api.auth.sign_in import EXPIRES_IN, Mode, ProviderCallback, SessionTokens
from headrace.api.auth.tokens import SessionToken
from headrace.api.dependencies import Services
from headrace.api.login.cookies import (
    LOGIN_COOKIE,
    REFRESH_COOKIE,
    cleared_cookies,
    login_cookie,
    session_cookies,
)
from headrace.api.middleware.response_bodies import SHOWS_SECRET
from headrace.api.path_prefix import prefix_of, without_prefix
from headrace.api.public_address import public_address
from headrace.domain.accounts.caller import UnauthenticatedError

# These answers and their addresses contain tokens and codes.
_SECRET_HEADERS: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}

# One slash and no backslash: browsers treat `//host` and `/\host` as another host.
OwnPath = Annotated[str, QueryParameter(max_length=2000, pattern=r"^/(?![/\\])[!-\[\]-~]*$(?!\n)")]
Prompt = Annotated[str | None, QueryParameter(pattern=r"^[a-z_]{1,32}$(?!\n)")]
Text = Annotated[str | None, QueryParameter(max_length=4096)]


class RefreshSession(Struct, forbid_unknown_fields=True):
    """The body of POST /auth/refresh of a client without cookies."""

    refresh_token: Annotated[str, Meta(min_length=1, max_length=1024)]


class SessionView(Struct, kw_only=True):
    """A session. For browsers both tokens are null: they are in cookies, which scripts cannot read."""

    access_token: str | None
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  (RFC 6750's name)
    expires_in: int
    refresh_token: str | None


class LoginController(Controller):
    path = "/auth"
    tags = ("auth",)
    opt = {SHOWS_SECRET: True}  # noqa: RUF012  (Litestar's own form)

    @get("/login/{provider:str}", operation_id="signIn", status_code=HTTP_302_FOUND)
    async def sign_in(
        self,
        request: Request[Any, Any, Any],
        provider: FromPath[str],
        services: NamedDependency[Services],
        return_to: OwnPath = "/",
        mode: Annotated[Mode, QueryParameter()] = "cookie",
        prompt: Prompt = None,
    ) -> Redirect:
        """Redirect a browser to a provider, which later redirects it back to a path of this service.

        With `mode=token` the callback answers with the tokens as JSON instead of setting cookies.
        """
        started = await services.sign_in.start(
            provider,
            base_url=public_address(request, services.settings.public_url),
            # A page may know only where the browser finds it.
            return_to=without_prefix(request.scope, return_to),
            mode=mode,
            prompt=prompt,
            browser=RequestInfo(request.scope).cookie(LOGIN_COOKIE) or None,
        )
        return Redirect(
            started.url,
            cookies=[login_cookie(started.browser, prefix_of(request.scope))],
            headers=_SECRET_HEADERS,
        )

    # Providers add parameters of their own: `iss`, `scope`, `session_state`, `authuser`.
    @get("/callback/{provider:str}", operation_id="finishSignIn", any_query=True)
    async def finish(
        self,
        request: Request[Any, Any, Any],
        provider: FromPath[str],
        services: NamedDependency[Services],
        given_state: Annotated[str | None, QueryParameter(name="state", max_length=512)] = None,
        code: Text = None,
        error: Text = None,
        canceled: Text = None,
    ) -> Response[SessionView | None]:
        """The callback of a provider: begin a session."""
        callback = ProviderCallback(
            state=given_state,
            code=code,
            error=error,
            is_cancelled=canceled == "true",
            browser=RequestInfo(request.scope).cookie(LOGIN_COOKIE) or None,
        )
        completed = await services.sign_in.complete(provider, callback)
        if completed.mode == "token":
            return Response(_view_of(completed.session), headers=_SECRET_HEADERS)
        cookies = session_cookies(completed.session, services.tokens, prefix_of(request.scope))
        return Redirect(completed.return_to, cookies=cookies, headers=_SECRET_HEADERS)

    @post("/refresh", operation_id="refreshSession", status_code=HTTP_200_OK)
    async def refresh(
        self,
        request: Request[Any, Any, Any],
        services: NamedDependency[Services],
        data: JSONBody[RefreshSession | None] = None,
    ) -> Response[SessionView]:
        """Exchange a refresh token, from the body or the cookie, for new tokens. Each can be used once."""
        services.sign_in.require_sessions()
        if data is not None:
            session = await services.sign_in.refresh(data.refresh_token)
            return Response(_view_of(session), headers=_SECRET_HEADERS)
        request_info = RequestInfo(request.scope)
        services.origins.check_page(request_info)
        cookie = request_info.cookie(REFRESH_COOKIE)
        if not cookie:
            raise UnauthenticatedError("token_missing", "there is no refresh token; sign in")
        session = await services.sign_in.refresh(cookie)
        view = SessionView(access_token=None, expires_in=EXPIRES_IN, refresh_token=None)
        return Response(
            view,
            cookies=session_cookies(session, services.tokens, prefix_of(request.scope)),
            headers=_SECRET_HEADERS,
        )

    @post("/logout", operation_id="signOut", status_code=HTTP_204_NO_CONTENT)
    async def sign_out(
        self, request: Request[Any, Any, Any], services: NamedDependency[Services]
    ) -> Response[None]:
        """End the session of the bearer token or the cookies, on all devices that use it."""
        services.sign_in.require_sessions()
        token = _session_of(request, services)
        if token is not None:
            await services.sign_in.sign_out(token)
        return Response(None, cookies=cleared_cookies(prefix_of(request.scope)), headers=_SECRET_HEADERS)


def _session_of(request: Request[Any, Any, Any], services: Services) -> SessionToken | None:
    """Return the session to end; None when the cookies contain no valid token.

    Raises:
        UnauthenticatedError: the bearer token is not valid.
        OriginRefusedError: the request comes from a page of another origin.
    """
    request_info = RequestInfo(request.scope)
    bearer = bearer_of(request_info)
    if bearer is not None:
        return services.tokens.read_access(bearer)
    services.origins.check_page(request_info)
    for name, read in (
        (REFRESH_COOKIE, services.tokens.read_refresh),
        (ACCESS_COOKIE, services.tokens.read_access),
    ):
        try:
            return read(request_info.cookie(name))
        except UnauthenticatedError:
            continue
    return None


def _view_of(session: SessionTokens) -> SessionView:
    return SessionView(access_token=session.access, expires_in=EXPIRES_IN, refresh_token=session.refresh)
