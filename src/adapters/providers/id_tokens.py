"""OpenID Connect's ID tokens: what must hold before one is believed (OpenID Connect Core 1.0, 3.1.3.7)."""

import hmac
import warnings
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError, SecurityWarning
from joserfc.jwk import JWKRegistry, Key, KeySet

from headrace.domain.accounts.profile import is_subject
from headrace.domain.accounts.sign_in_errors import IdTokenRefusedError
from headrace.domain.errors import HeadraceError

# Asymmetric alone: with a symmetric one the public key, or the client's secret, could sign.
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
_KEY_TYPES: Final = ("RSA", "EC", "OKP")
_MOST_KEYS: Final = 100
_LONGEST: Final = 32 * 1024
_SKEW_SECONDS: Final = 30


class UnknownKeyError(HeadraceError):
    """An ID token names a key that was not there when the keys were read."""


def import_keys(document: Any) -> KeySet:
    """The public keys of a JWKS document that can be used; the others are for somebody else."""
    keys: list[Key] = []
    listed = document.get("keys") if isinstance(document, dict) else None
    for entry in listed[:_MOST_KEYS] if isinstance(listed, list) else []:
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
    """The claims of an ID token that *issuer* signed, for this client, for this sign-in, not long ago.

    Raises:
        UnknownKeyError: it is signed with a key that is not among *keys*.
        IdTokenRefusedError: something of that does not hold.
    """
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise IdTokenRefusedError(provider, "there is none")
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
            # EdDSA has a newer name, which providers do not use yet.
            warnings.simplefilter("ignore", SecurityWarning)
            claims = jwt.decode(text, keys, algorithms=ALGORITHMS).claims
        registry.validate(claims)
    except InvalidKeyIdError as error:
        raise UnknownKeyError("the ID token is signed with an unknown key") from error
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise IdTokenRefusedError(provider, type(error).__name__) from error
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise IdTokenRefusedError(provider, "it is for another sign-in")
    is_shared = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", None if is_shared else client_id) != client_id:
        raise IdTokenRefusedError(provider, "it was given to another client")
    if not is_subject(claims["sub"]):
        raise IdTokenRefusedError(provider, "it names nobody")
    return claims
