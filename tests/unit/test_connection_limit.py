"""The bound on open connections, and which connection makes room for a new one."""

import resource

import pytest
from structlog.testing import capture_logs

from headrace.api.server.connections import ConnectionLimit, connection_limit


class Waiting:
    """A connection that waits for a request."""

    def __init__(self) -> None:
        self.is_closed = False

    def close_waiting(self) -> None:
        self.is_closed = True


def test_the_connection_that_has_waited_longest_makes_room() -> None:
    limit = ConnectionLimit(2)
    oldest, newer = Waiting(), Waiting()
    limit.add_waiting(oldest)
    limit.add_waiting(newer)

    is_served = limit.admit(3)

    assert (is_served, oldest.is_closed, newer.is_closed) == (True, True, False)


def test_a_connection_with_a_request_is_never_closed_for_another() -> None:
    limit = ConnectionLimit(1)
    busy = Waiting()
    limit.add_waiting(busy)
    limit.remove_waiting(busy)

    is_served = limit.admit(2)

    assert (is_served, busy.is_closed) == (False, False)


def test_a_closed_connection_makes_no_room_beyond_the_reserve() -> None:
    limit = ConnectionLimit(10)
    oldest, newer = Waiting(), Waiting()
    limit.add_waiting(oldest)
    limit.add_waiting(newer)

    served = [limit.admit(26), limit.admit(27)]

    assert (served, newer.is_closed) == ([True, False], True)


def test_beyond_the_reserve_connections_are_closed_at_once() -> None:
    limit = ConnectionLimit(10)

    assert [limit.is_beyond_reserve(count) for count in (10, 26, 27)] == [False, False, True]


def test_the_bound_is_logged_when_it_is_reached_and_then_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000.0
    monkeypatch.setattr("headrace.api.server.connections.time.monotonic", lambda: now)
    limit = ConnectionLimit(1)
    limit.add_waiting(Waiting())

    with capture_logs() as lines:
        for _ in range(5):
            limit.admit(2)
        now += 60
        limit.admit(2)

    first = {"event": "connections_at_limit", "log_level": "warning", "limit": 1, "open": 2}
    assert lines == [first | {"closed": 1, "refused": 0}, first | {"closed": 0, "refused": 5}]


@pytest.mark.parametrize(
    ("files", "connections", "soft_after"),
    [
        ((1_024, 4_096), 3_000, 3_064),
        ((1_024, 4_096), 20_000, 4_096),
        ((64, 64), 20_000, None),
        ((100_000, 100_000), 20_000, None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 20_000, None),
        ((1_024, resource.RLIM_INFINITY), 20_000, 20_064),
    ],
)
def test_the_bound_is_what_the_open_files_of_the_process_allow(
    monkeypatch: pytest.MonkeyPatch, files: tuple[int, int], connections: int, soft_after: int | None
) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: files)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))

    allowed = connection_limit(connections)

    most = soft_after or files[0]
    expected = connections if most == resource.RLIM_INFINITY else min(connections, max(most - 64, 8))
    assert allowed == expected
    assert [soft for soft, _ in raised if soft != files[0]] == ([soft_after] if soft_after else [])
