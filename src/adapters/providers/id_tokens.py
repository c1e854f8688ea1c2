"""Validates ID tokens of OpenID Connect (OpenID Connect Core 1.0, section 3.1.3.7)."""

import hmac
import warnings
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError, SecurityWarning
from joserfc.jwk import JWKRegistry, Key, KeySet

from headrace.domain.accounts.profile import is_subject
from headrace.domain.accounts.sign_in_errors import IdTokenRefusedError
from headrace.domain.errors import HeadraceError

# Only asymmetric algorithms: with a symmetric one the public key or the client's secret could sign.
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
_KEY_TYPES: Final = ("RSA", "EC", "OKP")
_MAX_KEYS: Final = 100
_MAX_CHARS: Final = 32 * 1024
_SKEW_SECONDS: Final = 30


class UnknownKeyError(HeadraceError):
    """The ID token names a key that is not among the provider's keys."""


def import_keys(document: Any) -> KeySet:
    """Return the usable public keys of a JWKS document; other kinds of keys are ignored."""
    keys: list[Key] = []
    listed = document.get("keys") if isinstance(document, dict) else None
    for entry in listed[:_MAX_KEYS] if isinstance(listed, list) else []:
        if not isinstance(entry, dict) or entry.get("kty") not in _KEY_TYPES or entry.get("use") == "enc":
            continue
        try:
            keys.append(JWKRegistry.import_key(entry))
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    return KeySet(keys)


def read_id_token(
    text: object, keys: KeySet, *, provider: str, issuer: str, client_id: str, nonce: str
) -> dict[str, Any]:
    """Return the claims of an ID token: signed by *issuer*, for this client and sign-in, and not expired.

    Raises:
        UnknownKeyError: the token is signed with a key that is not among *keys*.
        IdTokenRefusedError: the token is not valid.
    """
    if not isinstance(text, str) or len(text) > _MAX_CHARS:
        raise IdTokenRefusedError(provider, "there is no ID token")
    registry = jwt.JWTClaimsRegistry(
        leeway=_SKEW_SECONDS,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": client_id},
        exp={"essential": True},
        iat={"essential": True},
        sub={"essential": True},
    )
    try:
        with warnings.catch_warnings():
            # joserfc prefers a newer name for EdDSA, which providers do not use yet.
            warnings.simplefilter("ignore", SecurityWarning)
            claims = jwt.decode(text, keys, algorithms=ALGORITHMS).claims
        registry.validate(claims)
    except InvalidKeyIdError as error:
        raise UnknownKeyError("the ID token is signed with an unknown key") from error
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise IdTokenRefusedError(provider, type(error).__name__) from error
    token_nonce = claims.get("nonce")
    if not isinstance(token_nonce, str) or not hmac.compare_digest(token_nonce.encode(), nonce.encode()):
        raise IdTokenRefusedError(provider, "it is for another sign-in")
    is_shared = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", None if is_shared else client_id) != client_id:
        raise IdTokenRefusedError(provider, "it was issued to another client")
    if not is_subject(claims["sub"]):
        raise IdTokenRefusedError(provider, "it has no subject")
    return claims
