"""Valid and invalid session tokens."""

import base64
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from headrace.api.auth.tokens import ACCESS_LIFE, Tokens
from headrace.domain.accounts.caller import UnauthenticatedError

SECRET = "a secret of tests that is long enough"
TOKENS = Tokens(SECRET, None)
SESSION, USER = uuid4(), uuid4()
SECOND = timedelta(seconds=1)


def now() -> datetime:
    return datetime.now(UTC)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")


def changed(token: str, **claims: object) -> str:
    """Return the token with other claims and the original signature."""
    head, body, signature = token.split(".")
    old = msgspec.json.decode(base64.urlsafe_b64decode(body + "=="))
    return f"{head}.{part({**old, **claims})}.{signature}"


def unsigned(token: str) -> str:
    _, body, _ = token.split(".")
    return f"{part({'alg': 'none', 'typ': 'at+jwt'})}.{body}."


def refused(text: str) -> str:
    with pytest.raises(UnauthenticatedError) as error:
        TOKENS.read_access(text)
    return error.value.code


def test_tokens_contain_the_values_that_they_were_issued_with() -> None:
    access = TOKENS.issue_access(SESSION, USER, now=now())
    refresh = TOKENS.issue_refresh(SESSION, USER, 7, now=now(), until=now() + timedelta(days=30))

    assert (TOKENS.read_access(access).session_id, TOKENS.read_access(access).user_id) == (SESSION, USER)
    assert TOKENS.read_refresh(refresh).generation == 7


def test_an_access_token_is_valid_until_a_second_before_its_expiry() -> None:
    # Times are whole seconds: an expiry two seconds ahead is at least one second away.
    token = TOKENS.issue_access(SESSION, USER, now=now() - ACCESS_LIFE + 2 * SECOND)

    assert TOKENS.read_access(token).session_id == SESSION


def test_tokens_are_refused_as_expired_after_their_expiry() -> None:
    assert refused(TOKENS.issue_access(SESSION, USER, now=now() - ACCESS_LIFE)) == "token_expired"

    late = TOKENS.issue_refresh(SESSION, USER, 0, now=now() - timedelta(days=30), until=now() - SECOND)
    with pytest.raises(UnauthenticatedError) as error:
        TOKENS.read_refresh(late)

    assert error.value.code == "token_expired"


def test_a_token_issued_in_the_future_is_refused() -> None:
    assert refused(TOKENS.issue_access(SESSION, USER, now=now() + timedelta(minutes=1))) == "token_invalid"


def test_access_and_refresh_tokens_cannot_replace_each_other() -> None:
    access = TOKENS.issue_access(SESSION, USER, now=now())
    refresh = TOKENS.issue_refresh(SESSION, USER, 0, now=now(), until=now() + timedelta(days=1))

    with pytest.raises(UnauthenticatedError, match="not one of this service"):
        TOKENS.read_refresh(access)

    assert refused(refresh) == "token_invalid"


def test_a_job_token_is_not_an_access_token() -> None:
    assert refused(TOKENS.issue_job(uuid4(), "read", now=now(), until=now() + SECOND * 60)) == "token_invalid"


def test_tokens_signed_with_another_secret_are_refused() -> None:
    other = Tokens("another secret that is long enough", None)

    assert refused(other.issue_access(SESSION, USER, now=now())) == "token_invalid"


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": str(uuid4())},
        {"sid": str(uuid4())},
        {"exp": 2**40},
        {"aud": "headrace:refresh"},
        {"iss": "somebody"},
    ],
)
def test_a_changed_token_is_refused(claims: dict[str, object]) -> None:
    assert refused(changed(TOKENS.issue_access(SESSION, USER, now=now()), **claims)) == "token_invalid"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "headrace:refresh"},
        {"aud": "headrace:job"},
        {"iss": "somebody"},
        {"exp": None},
        {"sid": "no id"},
        {"sub": None},
        {"exp": "tomorrow"},
    ],
)
def test_a_signed_token_is_refused_if_one_of_its_claims_is_invalid(claims: dict[str, object]) -> None:
    # The key is right; the token must be refused because of its claims.
    key = TOKENS._keys["headrace:api"]
    valid_claims = {
        "iss": "headrace",
        "aud": "headrace:api",
        "sub": str(USER),
        "sid": str(SESSION),
        "gen": 0,
        "exp": int(time.time()) + 60,
    }
    good = jwt.encode({"alg": "HS256", "typ": "at+jwt"}, valid_claims, key)
    kept = {name: value for name, value in {**valid_claims, **claims}.items() if value is not None}

    assert TOKENS.read_access(good).user_id == USER
    assert refused(jwt.encode({"alg": "HS256", "typ": "at+jwt"}, kept, key)) == "token_invalid"
    assert refused(jwt.encode({"alg": "HS256", "typ": "rt+jwt"}, valid_claims, key)) == "token_invalid"


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_other_algorithms_are_refused_even_with_the_right_key(algorithm: str) -> None:
    key = TOKENS._keys["headrace:api"]
    assert isinstance(key, OctKey)
    claims = {"iss": "headrace", "aud": "headrace:api", "sub": str(USER), "sid": str(SESSION), "gen": 0}
    token = jwt.encode(
        {"alg": algorithm, "typ": "at+jwt"},
        {**claims, "exp": int(time.time()) + 60},
        key,
        algorithms=[algorithm],
    )

    assert refused(token) == "token_invalid"


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b.c", "\u00e4.\u00f6.\u00fc", "x" * 5000, "e30.e30.e30", "null", "Bearer x"]
)
def test_malformed_tokens_are_refused(text: str) -> None:
    assert refused(text) == "token_invalid"


def test_an_unsigned_token_is_refused() -> None:
    assert refused(unsigned(TOKENS.issue_access(SESSION, USER, now=now()))) == "token_invalid"


def test_each_session_has_its_own_csrf_token() -> None:
    assert TOKENS.csrf_token(SESSION) == Tokens(SECRET, None).csrf_token(SESSION)
    assert TOKENS.csrf_token(SESSION) != TOKENS.csrf_token(uuid4())
    assert TOKENS.csrf_token(SESSION) != Tokens("another secret", None).csrf_token(SESSION)
