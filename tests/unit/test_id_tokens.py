"""Valid and invalid ID tokens."""

import base64
import hmac
import time
from typing import Any

import msgspec
import pytest
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, KeySet, OctKey, OKPKey, RSAKey

from headrace.adapters.providers.id_tokens import UnknownKeyError, import_keys, read_id_token
from headrace.domain.accounts.sign_in_errors import IdTokenRefusedError

ISSUER, CLIENT, NONCE = "https://id.example.com", "headrace", "a nonce"
KEY = RSAKey.generate_key(2048, {"kid": "first"})
KEYS = import_keys(KeySet([KEY]).as_dict())


def token_claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": CLIENT, "sub": "0042", "nonce": NONCE, "iat": now, "exp": now + 300}
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def signed(claims: dict[str, Any], key: Key = KEY, algorithm: str = "RS256") -> str:
    return jwt.encode({"alg": algorithm, "kid": key.kid}, claims, key, algorithms=[algorithm])


def unsigned(claims: dict[str, Any]) -> str:
    head, body = (
        base64.urlsafe_b64encode(msgspec.json.encode(part)).decode().rstrip("=")
        for part in ({"alg": "none"}, claims)
    )
    return f"{head}.{body}."


def read(text: object, keys: KeySet = KEYS) -> dict[str, Any]:
    return read_id_token(text, keys, provider="corp", issuer=ISSUER, client_id=CLIENT, nonce=NONCE)


def test_a_valid_token_names_its_subject() -> None:
    assert read(signed(token_claims()))["sub"] == "0042"
    assert read(signed(token_claims(aud=[CLIENT], azp=CLIENT)))["sub"] == "0042"
    assert read(signed(token_claims(aud=[CLIENT, "another"], azp=CLIENT)))["sub"] == "0042"


@pytest.mark.filterwarnings(f"ignore::{SecurityWarning.__module__}.{SecurityWarning.__name__}")
@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("PS256", KEY),
        ("ES256", ECKey.generate_key("P-256", {"kid": "curve"})),
        ("EdDSA", OKPKey.generate_key("Ed25519", {"kid": "edwards"})),
    ],
)
def test_other_asymmetric_algorithms_are_accepted(algorithm: str, key: Key) -> None:
    assert read(signed(token_claims(), key, algorithm), import_keys(KeySet([key]).as_dict()))["sub"] == "0042"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://id.example.org"},
        {"iss": ISSUER + "/"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": []},
        {"aud": None},
        {"aud": [CLIENT, "another"]},
        {"azp": "another"},
        {"exp": int(time.time()) - 31},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": int(time.time()) + 3600},
        {"iat": None},
        {"nbf": int(time.time()) + 3600},
        {"nonce": "another nonce"},
        {"nonce": ""},
        {"nonce": None},
        {"nonce": [NONCE]},
        {"sub": None},
        {"sub": ""},
        {"sub": 42},
        {"sub": "x" * 256},
        {"sub": "a\0b"},
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(IdTokenRefusedError):
        read(signed(token_claims(**changes)))


def test_an_unsigned_token_is_refused() -> None:
    with pytest.raises(IdTokenRefusedError):
        read(unsigned(token_claims()))


@pytest.mark.parametrize(
    "secret", [KEY.as_pem(private=False), KEY.as_der(private=False), b"client secret" * 4]
)
def test_a_token_signed_with_hmac_is_refused(secret: bytes) -> None:
    shared = OctKey.import_key(base64.urlsafe_b64encode(secret).decode())
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"first"}').decode().rstrip("=")
    body = base64.urlsafe_b64encode(msgspec.json.encode(token_claims())).decode().rstrip("=")
    mac = hmac.digest(secret, f"{head}.{body}".encode(), "sha256")
    by_hand = f"{head}.{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    for text in (by_hand, jwt.encode({"alg": "HS256", "kid": "first"}, token_claims(), shared)):
        with pytest.raises(IdTokenRefusedError):
            read(text)


def test_a_symmetric_key_in_the_key_set_is_ignored() -> None:
    shared = OctKey.import_key(b"x" * 32, {"kid": "shared"})
    document = {"keys": [shared.as_dict(private=True), KEY.as_dict(private=False), {"kty": "new"}, {}, 7]}

    keys = import_keys(document)

    assert [key.kid for key in keys] == ["first"]
    with pytest.raises(IdTokenRefusedError):
        read(signed(token_claims(), shared, "HS256"), keys)


def test_a_signature_of_another_key_with_the_same_id_is_refused() -> None:
    with pytest.raises(IdTokenRefusedError):
        read(signed(token_claims(), RSAKey.generate_key(2048, {"kid": "first"})))


def test_an_unknown_key_raises_its_own_error_so_that_keys_can_be_reloaded() -> None:
    with pytest.raises(UnknownKeyError):
        read(signed(token_claims(), RSAKey.generate_key(2048, {"kid": "second"})))


@pytest.mark.parametrize("text", [None, 7, "", "a.b.c", "x" * 40_000, {"id": 1}])
def test_malformed_tokens_are_refused(text: object) -> None:
    with pytest.raises(IdTokenRefusedError):
        read(text)


@pytest.mark.parametrize("document", [None, [], {}, {"keys": None}, {"keys": []}])
def test_a_document_without_keys_gives_an_empty_key_set(document: object) -> None:
    assert list(import_keys(document)) == []
