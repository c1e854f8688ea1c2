"""The service's JSON Web Tokens: signed with one algorithm, each kind with its own key and audience.

A job token is the same whether it is made here or by somebody's backend with the shared key.
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

from headrace.domain.accounts.caller import UnauthenticatedError

JobRight = Literal["read", "cancel"]

ACCESS_LIFE: Final = timedelta(minutes=10)
LONGEST_JOB_TOKEN: Final = timedelta(hours=24)
_ALGORITHM: Final = "HS256"
_ISSUER: Final = "headrace"
_ACCESS, _REFRESH, _JOB = "headrace:api", "headrace:refresh", "headrace:job"
# A backend that makes job tokens writes what its library does: `JWT`, or nothing.
_TYPES: Final = {_ACCESS: "at+jwt", _REFRESH: "rt+jwt", _JOB: "JWT"}
_LONGEST: Final = 4096
_AHEAD_SECONDS: Final = 5


class _Claims(jwt.JWTClaimsRegistry):
    """RFC 7519 to the microsecond; a backend that makes tokens may have a clock that is ahead of ours."""

    def __init__(self, **options: Any) -> None:
        super().__init__(now=time.time, **options)  # type: ignore[arg-type]

    def validate_iat(self, value: object) -> None:
        super().validate_iat(value - _AHEAD_SECONDS if isinstance(value, int | float) else value)


class SessionToken(Struct, frozen=True):
    """What an access or a refresh token says."""

    session_id: UUID
    user_id: UUID
    generation: int


class JobToken(Struct, frozen=True):
    """What a job token says: this job, that right, made then, good until then."""

    job_id: UUID
    right: JobRight
    issued_at: datetime
    expires_at: datetime


class Tokens:
    """Makes and reads tokens. *job_key* is shared with backends that make job tokens themselves."""

    def __init__(self, secret_key: str, job_key: str | None) -> None:
        secret = secret_key.encode()
        self._secret = secret
        self._keys = {kind: OctKey.import_key(_derived(secret, kind)) for kind in (_ACCESS, _REFRESH)}
        self._keys[_JOB] = OctKey.import_key(job_key.encode() if job_key else _derived(secret, _JOB))

    def access(self, session_id: UUID, user_id: UUID, *, now: datetime) -> str:
        """A token for requests, good for ten minutes."""
        return self._session_token(_ACCESS, session_id, user_id, 0, now, now + ACCESS_LIFE)

    def refresh(
        self, session_id: UUID, user_id: UUID, generation: int, *, now: datetime, until: datetime
    ) -> str:
        """A token for one refresh; the next has the next generation."""
        return self._session_token(_REFRESH, session_id, user_id, generation, now, until)

    def job(self, job_id: UUID, right: JobRight, *, now: datetime, until: datetime) -> str:
        """A token for one job. Its `iat` has a fraction: a revocation counts from the microsecond on."""
        claims = {"sub": str(job_id), "aud": _JOB, "scope": right, "iat": now.timestamp()}
        return self._sign(_JOB, _TYPES[_JOB], {**claims, "exp": int(until.timestamp())})

    def read_access(self, text: str) -> SessionToken:
        """What an access token says.

        Raises:
            UnauthenticatedError: it is none of ours, or its time is over.
        """
        return self._read_session_token(_ACCESS, text)

    def read_refresh(self, text: str) -> SessionToken:
        """What a refresh token says.

        Raises:
            UnauthenticatedError: it is none of ours, or its time is over.
        """
        return self._read_session_token(_REFRESH, text)

    def read_job(self, text: str) -> JobToken:
        """What a job token says.

        Raises:
            UnauthenticatedError: it is none of ours, its time is over, or it was made for too long.
        """
        claims = self._read(_JOB, text, sub={"essential": True}, iat={"essential": True})
        try:
            token = JobToken(
                UUID(claims["sub"]),
                claims["scope"],
                datetime.fromtimestamp(claims["iat"], UTC),
                datetime.fromtimestamp(claims["exp"], UTC),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError):
            _refuse()
        if token.right not in ("read", "cancel") or token.expires_at - token.issued_at > LONGEST_JOB_TOKEN:
            _refuse()
        return token

    def csrf(self, session_id: UUID) -> str:
        """What a page must send beside a session's cookie when it changes something."""
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

    def _read(self, kind: str, text: str, **more: Any) -> dict[str, Any]:
        if len(text) > _LONGEST:
            _refuse()
        try:
            token = jwt.decode(text, self._keys[kind], algorithms=[_ALGORITHM])
            _Claims(aud={"essential": True, "value": kind}, exp={"essential": True}, **more).validate(
                token.claims
            )
        except ExpiredTokenError as error:
            raise UnauthenticatedError("token_expired", "the token's time is over") from error
        except (JoseError, ValueError, TypeError) as error:
            raise UnauthenticatedError("token_invalid", "the token is not one of this service") from error
        if token.header.get("typ", _TYPES[_JOB]) != _TYPES[kind]:
            _refuse()
        return token.claims


def _derived(secret: bytes, label: str) -> bytes:
    return hmac.digest(secret, f"headrace {label}".encode(), "sha256")


def _refuse() -> NoReturn:
    raise UnauthenticatedError("token_invalid", "the token is not one of this service")
