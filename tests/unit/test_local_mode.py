"""Local mode signs every caller in as the dev user, so only local callers are allowed."""

import pytest
from structlog.testing import capture_logs

from headrace.api.auth.local_mode import RemoteRefusedError, refuse_remote
from headrace.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_local_addresses_are_served_with_a_warning_in_the_log(host: str) -> None:
    with capture_logs() as lines:
        refuse_remote(host, Settings())

    (line,) = lines
    assert (line["event"], line["log_level"], line["host"]) == ("local_auth", "warning", host)
    assert "everybody" in line["warning"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "jobs.example.com"])  # noqa: S104
def test_other_addresses_are_refused_unless_allowed_and_then_logged(host: str) -> None:
    with pytest.raises(RemoteRefusedError, match="HEADRACE_ALLOW_REMOTE"):
        refuse_remote(host, Settings())

    with capture_logs() as lines:
        refuse_remote(host, Settings(allow_remote=True))

    assert [line["event"] for line in lines] == ["local_auth"]


def test_any_address_is_allowed_where_callers_are_authenticated() -> None:
    with capture_logs() as lines:
        refuse_remote("0.0.0.0", Settings(auth="proxy"))  # noqa: S104

    assert lines == []
