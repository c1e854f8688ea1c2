"""Local mode signs every caller in as the dev user, so only local callers are allowed."""

import pytest
from structlog.testing import capture_logs

from headrace.api.auth.authentication import RemoteRefusedError, refuse_remote
from headrace.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_it_serves_this_machine_and_says_so_in_the_log(host: str) -> None:
    with capture_logs() as lines:
        refuse_remote(host, Settings())

    (line,) = lines
    assert (line["event"], line["log_level"], line["host"]) == ("local_auth", "warning", host)
    assert "everybody" in line["warning"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "jobs.example.com"])  # noqa: S104
def test_another_address_is_refused_unless_it_is_allowed_and_is_said_loudly(host: str) -> None:
    with pytest.raises(RemoteRefusedError, match="HEADRACE_ALLOW_REMOTE"):
        refuse_remote(host, Settings())

    with capture_logs() as lines:
        refuse_remote(host, Settings(allow_remote=True))

    assert [line["event"] for line in lines] == ["local_auth"]


def test_where_callers_are_told_apart_any_address_will_do() -> None:
    with capture_logs() as lines:
        refuse_remote("0.0.0.0", Settings(auth="proxy"))  # noqa: S104

    assert lines == []
