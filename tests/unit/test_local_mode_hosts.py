"""In local mode every caller is the dev user, so only listed hosts are answered (DNS rebinding)."""

from typing import Literal

import pytest

from headrace.api.auth.local_mode import LocalHosts
from headrace.api.auth.request_info import RequestInfo
from headrace.api.errors import OriginRefusedError
from headrace.settings import Settings


def hosts_of(*, allow_remote: bool) -> LocalHosts:
    return LocalHosts(
        Settings(
            public_url="https://Jobs.example:8443",
            allowed_hosts=("api", "Box.lan"),
            allow_remote=allow_remote,
        )
    )


def request(*hosts: str) -> RequestInfo:
    raw = [(b"host", host.encode("latin-1")) for host in hosts]
    return RequestInfo({"method": "GET", "headers": raw, "query_string": b"", "client": ("127.0.0.1", 1)})


@pytest.mark.parametrize("allow_remote", [False, True])
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8000",
        "192.168.1.2",
        "localhost:8000",
        "LocalHost",
        "localhost.",
        "jobs.localhost:8000",
        "[::1]:8000",
        "[::1]",
        "jobs.example",
        "jobs.example:8000",
        "API:8000",
        "box.lan",
    ],
)
def test_local_mode_answers_to_listed_names_and_addresses(host: str, allow_remote: bool) -> None:
    hosts_of(allow_remote=allow_remote).check(request(host))


@pytest.mark.parametrize("allow_remote", [False, True])
@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("",),
        ("app",),
        ("evil.example:8000",),
        ("evil.example",),
        ("evil.example.",),
        ("127.0.0.1.evil.example:8000",),
        ("localhost.evil.example",),
        ("evillocalhost",),
        ("example",),
        ("jobs.example.evil.example",),
        ("127.0.0.1", "evil.example"),
        ("evil.example]",),
    ],
)
def test_local_mode_refuses_all_other_hosts(hosts: tuple[str, ...], allow_remote: bool) -> None:
    with pytest.raises(OriginRefusedError, match="HEADRACE_ALLOWED_HOSTS"):
        hosts_of(allow_remote=allow_remote).check(request(*hosts))


@pytest.mark.parametrize("auth", ["proxy", "token"])
def test_other_modes_answer_to_every_host(auth: Literal["proxy", "token"]) -> None:
    LocalHosts(Settings(auth=auth)).check(request("jobs.example"))
