"""The cookies of a session in a browser. All are `Secure`, which works over https and on localhost."""

from typing import Final, Literal

from litestar.datastructures import Cookie

from headrace.api.auth.authentication import ACCESS_COOKIE
from headrace.api.auth.sign_in import SessionTokens
from headrace.api.auth.tokens import Tokens
from headrace.domain.accounts.login_attempt_repository import LOGIN_LIFE

REFRESH_COOKIE: Final = "headrace_refresh"
CSRF_COOKIE: Final = "headrace_csrf"
LOGIN_COOKIE: Final = "headrace_login"
_AUTH_PATH: Final = "/auth"

_SameSite = Literal["lax", "strict"]


def session_cookies(session: SessionTokens, tokens: Tokens, prefix: str) -> list[Cookie]:
    """Return the cookies of a session, valid until the session ends, below the *prefix* of the service.

    The access cookie outlives its token, so a page gets `token_expired` instead of `token_missing` and knows
    that it can refresh.
    """
    return _cookies(
        session.access, session.refresh, tokens.csrf_token(session.id), session.seconds_left, prefix
    )


def cleared_cookies(prefix: str) -> list[Cookie]:
    """Return cookies that delete those of a session."""
    return _cookies("", "", "", 0, prefix)


def login_cookie(browser: str, prefix: str) -> Cookie:
    """Return the cookie that ties a sign-in to its browser. Lax: the provider redirects back to us."""
    return _cookie(LOGIN_COOKIE, browser, int(LOGIN_LIFE.total_seconds()), path=prefix + _AUTH_PATH)


def _cookies(access: str, refresh: str, csrf: str, seconds: int, prefix: str) -> list[Cookie]:
    root = prefix or "/"
    return [
        _cookie(ACCESS_COOKIE, access, seconds, path=root),
        _cookie(REFRESH_COOKIE, refresh, seconds, path=prefix + _AUTH_PATH, samesite="strict"),
        # The page reads it and sends it along as a header.
        _cookie(CSRF_COOKIE, csrf, seconds, path=root, samesite="strict", httponly=False),
    ]


def _cookie(
    name: str,
    value: str,
    seconds: int,
    *,
    path: str,
    samesite: _SameSite = "lax",
    httponly: bool = True,
) -> Cookie:
    return Cookie(
        key=name,
        value=value,
        path=path,
        max_age=seconds,
        secure=True,
        httponly=httponly or None,
        samesite=samesite,
    )
