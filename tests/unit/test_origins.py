"""The browser origins that may call the service."""

from uuid import UUID

import pytest

from headrace.api.auth.origins import Origins
from headrace.api.auth.request_info import RequestInfo
from headrace.api.auth.tokens import Tokens
from headrace.api.errors import OriginRefusedError
from headrace.domain.accounts.caller import Credential, CurrentUser
from headrace.settings import Settings

TOKENS = Tokens("a key", None)
USER = "01a1ff51-6003-7274-a0cb-ac22f3cf0e76"


def request(method: str = "POST", **headers: str) -> RequestInfo:
    named = {
        "host": "jobs.example:8000",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    raw = [(name.encode(), value.encode("latin-1")) for name, value in named.items()]
    return RequestInfo({"method": method, "headers": raw, "query_string": b"", "client": ("127.0.0.1", 1)})


def user(credential: Credential) -> CurrentUser:
    return CurrentUser(id=UUID(USER), username="ada", credential=credential, credential_id=UUID(USER))


@pytest.mark.parametrize(
    "origin", ["https://jobs.example:8000", "https://app.example", "HTTPS://APP.example"]
)
def test_the_services_own_and_listed_origins_may_make_changes(origin: str) -> None:
    origins = Origins(Settings(cors_origins=("https://app.example",)), TOKENS)

    origins.check(request(origin=origin), user("proxy"))


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://jobs.example", "http://[", ""])
def test_other_origins_may_not_make_changes(origin: str) -> None:
    origins = Origins(Settings(cors_origins=("https://app.example",)), TOKENS)

    with pytest.raises(OriginRefusedError):
        origins.check(request(origin=origin), user("proxy"))


def test_reads_are_allowed_from_every_origin() -> None:
    Origins(Settings(), TOKENS).check(request("GET", origin="https://evil.example"), user("session"))


def test_a_cookie_session_needs_its_csrf_token() -> None:
    origins = Origins(Settings(), TOKENS)
    ada = user("session")
    assert ada.credential_id is not None
    token = TOKENS.csrf_token(ada.credential_id)

    origins.check(request(x_csrf_token=token), ada)
    for wrong in ({}, {"x_csrf_token": ""}, {"x_csrf_token": token[:-1] + "x"}, {"x_csrf_token": "é"}):
        with pytest.raises(OriginRefusedError):
            origins.check(request(**wrong), ada)
