"""The URLs and headers with which the Python client calls a service."""

import ssl

import pytest

from headrace_client.address import Address
from headrace_client.errors import BadTokenError, BadUrlError
from headrace_client.position import JobsPosition, Position

JOB = "01a1fcda-1222-71e3-b3dd-702451ba443d"


def test_the_socket_url_is_derived_from_the_api_url() -> None:
    plain = Address("http://127.0.0.1:8000/", None)
    behind = Address("https://jobs.example/headrace", "secret")

    one, other = Position(plain.url, JOB, 7, patience=1), Position(behind.url, "a/b?", 0, patience=1)
    every = JobsPosition(plain.url, {"tag": "a b&c"}, patience=1)
    assert plain.socket(one.path, one.query) == f"ws://127.0.0.1:8000/api/v1/jobs/{JOB}/ws?after=7&batch=true"
    assert (
        behind.socket(other.path, other.query)
        == "wss://jobs.example/headrace/api/v1/jobs/a%2Fb%3F/ws?after=0&batch=true"
    )
    assert plain.socket(every.path, every.query) == "ws://127.0.0.1:8000/api/v1/ws?tag=a+b%26c&batch=true"
    assert isinstance(plain.verify, ssl.SSLContext)
    assert plain.verify.get_ca_certs() == []
    assert behind.verify is True
    assert (plain.is_local, behind.is_local) == (True, False)
    assert (plain.headers, behind.headers) == ({}, {"Authorization": "Bearer secret"})


def test_invalid_urls_and_tokens_are_refused_at_once() -> None:
    with pytest.raises(BadUrlError):
        Address("127.0.0.1:8000", None)
    with pytest.raises(BadTokenError):
        Address("http://here", "to\nken")
