"""The client address of a request, and the peers that may forward one."""

from typing import Any

import pytest

from headrace.api.auth.proxies import Proxies
from headrace.api.auth.request_info import RequestInfo
from headrace.settings import Settings

PROXY = "10.0.0.5"
SECRET = "between-proxy-and-service"


def connection(peer: str | None, *headers: tuple[str, str], scheme: str = "http") -> RequestInfo:
    scope: Any = {
        "type": "http",
        "scheme": scheme,
        "client": None if peer is None else (peer, 1234),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    return RequestInfo(scope)


def proxies(*trusted: str, secret: str | None = None) -> Proxies:
    return Proxies(Settings(trusted_proxies=trusted, proxy_secret=secret))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        (PROXY, ["203.0.113.9"], "203.0.113.9"),
        # An address that the client sends is to the left of the one that the proxy appends.
        (PROXY, ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        (PROXY, ["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
        (PROXY, ["203.0.113.9, 10.0.0.6"], "203.0.113.9"),
        (PROXY, ["10.0.0.7, 10.0.0.6"], "10.0.0.7"),
        (PROXY, ["1.1.1.1, nonsense, 10.0.0.6"], "10.0.0.6"),
        (PROXY, ["nonsense"], PROXY),
        (PROXY, [""], PROXY),
        (PROXY, [], PROXY),
        (PROXY, ["203.0.113.9:4711"], "203.0.113.9"),
        (PROXY, ["[2001:db8:1:2:3::4]:4711"], "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.5", ["203.0.113.9"], "203.0.113.9"),
        ("203.0.113.66", ["1.1.1.1"], "203.0.113.66"),
        ("2001:db8:1:2::1", ["1.1.1.1"], "2001:db8:1:2::/64"),
        (None, ["1.1.1.1"], "unix"),
    ],
)
def test_only_a_trusted_proxy_may_forward_a_client_address(
    peer: str | None, forwarded: list[str], address: str
) -> None:
    request = connection(peer, *(("x-forwarded-for", value) for value in forwarded))

    assert proxies("10.0.0.0/24").address_of(request) == address


def test_a_proxy_with_the_secret_is_trusted_from_any_address() -> None:
    forwarded = ("x-forwarded-for", "203.0.113.9")
    proxies_with_secret = proxies(secret=SECRET)

    assert (
        proxies_with_secret.address_of(connection(PROXY, forwarded, ("x-headrace-proxy-secret", SECRET)))
        == "203.0.113.9"
    )
    assert (
        proxies_with_secret.address_of(connection(PROXY, forwarded, ("x-headrace-proxy-secret", "guess")))
        == PROXY
    )
    assert proxies_with_secret.address_of(connection(PROXY, forwarded)) == PROXY


def test_without_trusted_proxies_no_forwarding_header_is_trusted() -> None:
    request = connection(PROXY, ("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https"))

    assert not proxies().is_proxy(request)
    assert proxies().address_of(request) == PROXY
    assert not proxies().is_https(request)


@pytest.mark.parametrize(
    ("peer", "forwarded", "scheme", "is_https"),
    [
        (PROXY, "https", "http", True),
        (PROXY, "http", "http", False),
        (PROXY, "https, http", "http", False),
        ("203.0.113.66", "https", "http", False),
        ("203.0.113.66", "", "https", True),
    ],
)
def test_only_a_trusted_proxy_may_forward_the_scheme(
    peer: str, forwarded: str, scheme: str, is_https: bool
) -> None:
    request = connection(peer, ("x-forwarded-proto", forwarded), scheme=scheme)

    assert proxies(PROXY).is_https(request) is is_https
