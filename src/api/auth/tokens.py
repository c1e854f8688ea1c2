"""The service's JSON Web Tokens: signed with one algorithm, each kind with its own key and audience.

A job token is the same whether this service makes it or a user's backend does, with the shared key.
"""

import hmac
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NoReturn
from uuid import UUID

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import OctKey
from msgspec import Struct

from headrace.domain.accounts.caller import CurrentUser, UnauthenticatedError

JobRight = Literal["read", "cancel"]

ACCESS_LIFE: Final = timedelta(minutes=10)
MAX_JOB_TOKEN_LIFE: Final = timedelta(hours=24)
_ALGORITHM: Final = "HS256"
_ISSUER: Final = "headrace"
_ACCESS, _REFRESH, _JOB = "headrace:api", "headrace:refresh", "headrace:job"
# Backends that make job tokens send the `typ` of their library: `JWT`, or none.
_TYPES: Final = {_ACCESS: "at+jwt", _REFRESH: "rt+jwt", _JOB: "JWT"}
_MAX_LENGTH: Final = 4096
_CLOCK_SKEW_SECONDS: Final = 5


class _Claims(jwt.JWTClaimsRegistry):
    """Checks times as RFC 7519 says, to the microsecond; a backend's clock may be 5 s ahead of ours."""

    def __init__(self, **options: Any) -> None:
        super().__init__(now=time.time, **options)  # type: ignore[arg-type]

    def validate_iat(self, value: object) -> None:
        super().validate_iat(value - _CLOCK_SKEW_SECONDS if isinstance(value, int | float) else value)


class SessionToken(Struct, frozen=True):
    """The contents of an access or a refresh token."""

    session_id: UUID
    user_id: UUID
    generation: int


class TokenMaker(Struct, frozen=True):
    """The credential that made a job token: an API key, a session, or a user without either."""

    credential: Literal["api_key", "session", "user"]
    id: UUID

    @classmethod
    def of(cls, user: CurrentUser) -> "TokenMaker":
        if user.credential in ("api_key", "session") and user.credential_id is not None:
            return cls(user.credential, user.credential_id)
        return cls("user", user.id)


class JobToken(Struct, frozen=True):
    """The contents of a job token. *maker* is None if a backend made it, with the shared key."""

    job_id: UUID
    right: JobRight
    maker: TokenMaker | None
    issued_at: datetime
    expires_at: datetime


class Tokens:
    """Makes and reads tokens. *job_key* is shared with backends that make job tokens themselves."""

    def __init__(self, secret_key: str, job_key: str | None) -> None:
        secret = secret_key.encode()
        self._secret = secret
        self._keys = {kind: OctKey.import_key(_derived(secret, kind)) for kind in (_ACCESS, _REFRESH)}
        self._keys[_JOB] = OctKey.import_key(job_key.encode() if job_key else _derived(secret, _JOB))

    def issue_access(self, session_id: UUID, user_id: UUID, *, now: datetime) -> str:
        """Make a token for requests that is valid for ten minutes."""
        return self._session_token(_ACCESS, session_id, user_id, 0, now, now + ACCESS_LIFE)

    def issue_refresh(
        self, session_id: UUID, user_id: UUID, generation: int, *, now: datetime, until: datetime
    ) -> str:
        """Make a token for one refresh; the next token has the next generation."""
        return self._session_token(_REFRESH, session_id, user_id, generation, now, until)

    def issue_job(
        self,
        job_id: UUID,
        right: JobRight,
        *,
        now: datetime,
        until: datetime,
        maker: TokenMaker | None = None,
    ) -> str:
        """Make a token for one job. It ends with *maker*, if there is one.

        Its `iat` has a fraction, because revocations have microseconds.
        """
        claims = {"sub": str(job_id), "aud": _JOB, "scope": right, "iat": now.timestamp()}
        if maker is not None:
            claims["maker"] = f"{maker.credential}:{maker.id}"
        return self._sign(_JOB, _TYPES[_JOB], {**claims, "exp": int(until.timestamp())})

    def read_access(self, text: str) -> SessionToken:
        """Read an access token.

        Raises:
            UnauthenticatedError: this service did not make the token, or it has expired.
        """
        return self._read_session_token(_ACCESS, text)

    def read_refresh(self, text: str) -> SessionToken:
        """Read a refresh token.

        Raises:
            UnauthenticatedError: this service did not make the token, or it has expired.
        """
        return self._read_session_token(_REFRESH, text)

    def read_job(self, text: str) -> JobToken:
        """Read a job token.

        Raises:
            UnauthenticatedError: the token has another key, has expired, or is valid for more than 24 h.
        """
        claims = self._read(_JOB, text, sub={"essential": True}, iat={"essential": True})
        try:
            token = JobToken(
                UUID(claims["sub"]),
                claims["scope"],
                None if "maker" not in claims else _parse_maker(claims["maker"]),
                datetime.fromtimestamp(claims["iat"], UTC),
                datetime.fromtimestamp(claims["exp"], UTC),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError):
            _refuse()
        if token.right not in ("read", "cancel") or token.expires_at - token.issued_at > MAX_JOB_TOKEN_LIFE:
            _refuse()
        return token

    def csrf_token(self, session_id: UUID) -> str:
        """Return the token that a page must send with a session's cookie when it changes something."""
        return hmac.digest(_derived(self._secret, "csrf"), session_id.bytes, "sha256").hex()

    def _session_token(
        self, kind: str, session_id: UUID, user_id: UUID, generation: int, now: datetime, until: datetime
    ) -> str:
        claims = {
            "iss": _ISSUER,
            "aud": kind,
            "sub": str(user_id),
            "sid": str(session_id),
            "gen": generation,
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "exp": int(until.timestamp()),
        }
        return self._sign(kind, _TYPES[kind], claims)

    def _read_session_token(self, kind: str, text: str) -> SessionToken:
        claims = self._read(kind, text, iss={"essential": True, "value": _ISSUER})
        try:
            return SessionToken(UUID(claims["sid"]), UUID(claims["sub"]), int(claims["gen"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            _refuse()

    def _sign(self, kind: str, type_: str, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": _ALGORITHM, "typ": type_}, claims, self._keys[kind])

    def _read(self, kind: str, text: str, **claims: Any) -> dict[str, Any]:
        if len(text) > _MAX_LENGTH:
            _refuse()
        try:
            token = jwt.decode(text, self._keys[kind], algorithms=[_ALGORITHM])
            _Claims(aud={"essential": True, "value": kind}, exp={"essential": True}, **claims).validate(
                token.claims
            )
        except ExpiredTokenError as error:
            raise UnauthenticatedError("token_expired", "the token has expired") from error
        except (JoseError, ValueError, TypeError) as error:
            raise UnauthenticatedError("token_invalid", "the token is not one of this service") from error
        if token.header.get("typ", _TYPES[_JOB]) != _TYPES[kind]:
            _refuse()
        return token.claims


def _parse_maker(text: str) -> TokenMaker:
    """Return the maker that a token names.

    Raises:
        ValueError: the text names none.
        AttributeError: it is not a text.
    """
    match text.partition(":"):
        case ("api_key" | "session" | "user") as credential, ":", maker_id:
            return TokenMaker(credential, UUID(maker_id))
    raise ValueError("no maker of a job token")


def _derived(secret: bytes, label: str) -> bytes:
    return hmac.digest(secret, f"headrace {label}".encode(), "sha256")


def _refuse() -> NoReturn:
    raise UnauthenticatedError("token_invalid", "the token is not one of this service")
