"""How much is on its way to quick clients and to slow ones."""

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.api.server.flow_control import LEAST, MOST, SendWindow

PATIENCE = 24.0
PING = -1


class Client:
    """Reads as a library does: ahead of its user up to a queue, then not before the queue is low again."""

    def __init__(self, a_second: float, queue: int, low: int) -> None:
        self._a_second, self._high, self._low = a_second, queue, low
        self._wire: deque[int] = deque()
        self._queued = 0.0
        self._is_paused = False

    def send(self, message: int) -> None:
        self._wire.append(message)

    def live(self, seconds: float) -> bool:
        """Let its user read for so long; whether a pong was sent."""
        self._queued = max(0.0, self._queued - self._a_second * seconds)
        if self._queued <= self._low:
            self._is_paused = False
        if self._is_paused:
            return False
        # What has arrived is taken in one go.
        has_pong = PING in self._wire
        self._queued += sum(message != PING for message in self._wire)
        self._wire.clear()
        self._is_paused = self._queued > self._high
        return has_pong


def longest_wait(client: Client, messages_a_second: float, backlog: int, *, seconds: float = 80.0) -> float:
    """How long the slowest pong takes."""
    pace, now, owed, longest = SendWindow(), 0.0, float(backlog), 0.0
    asked_at = 0.0
    tick = 0.02
    client.send(PING)
    pace.ask(now)
    while now < seconds:
        now += tick
        owed += messages_a_second * tick
        if client.live(tick):
            longest = max(longest, now - asked_at)
            pace.answer(now)
        while owed >= 1 and not pace.is_full:
            client.send(0)
            pace.count()
            owed -= 1
            if pace.should_ask:
                client.send(PING)
                pace.ask(now)
                asked_at = now
        if pace.should_ask:
            client.send(PING)
            pace.ask(now)
            asked_at = now
    return longest


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([0, 20, 5000]), st.floats(5, 300), st.sampled_from([(0, 0), (1, 0), (16, 4)]))
def test_one_that_takes_a_message_a_second_never_looks_as_if_it_had_stopped(
    backlog: int, messages_a_second: float, queue: tuple[int, int]
) -> None:
    assert longest_wait(Client(1.0, *queue), messages_a_second, backlog) < PATIENCE


def test_a_quick_client_gets_ever_more_room() -> None:
    pace, now = SendWindow(), 100.0
    pace.ask(now)
    pace.answer(now + 0.1)

    windows = []
    for _ in range(40):
        while not pace.is_full:
            pace.count()
        pace.ask(now)
        now += 0.1
        pace.answer(now)
        windows.append(pace.window)

    assert windows == sorted(windows)
    assert windows[-1] == MOST


def test_a_client_that_is_slow_once_gets_the_least_again() -> None:
    pace = SendWindow()
    for moment in range(10):
        for _ in range(LEAST):
            pace.count()
        pace.ask(moment / 10)
        pace.answer(moment / 10 + 0.05)
    assert pace.window > LEAST

    pace.ask(2.0)
    pace.answer(6.0)

    assert pace.window == LEAST


def test_one_that_never_answers_is_not_held_back() -> None:
    pace = SendWindow()

    for _ in range(1000):
        pace.count()

    assert not pace.is_full
    assert pace.should_ask


def test_what_was_sent_behind_a_ping_is_not_read_with_it() -> None:
    pace = SendWindow()
    pace.count()
    pace.ask(0.0)
    pace.count()
    pace.answer(0.1)

    assert pace.unread == 1

    pace.answer(0.2)
    assert pace.unread == 1


@given(early=st.integers(0, LEAST // 2 - 1))
def test_clients_that_were_asked_apart_stay_apart(early: int) -> None:
    pace = SendWindow(early)
    pace.ask(0.0)
    pace.answer(0.0)

    asked_at = []
    for message in range(1, 3 * LEAST // 2 + 1):
        pace.count()
        if pace.should_ask:
            asked_at.append(message)
            pace.ask(message)
            pace.answer(message)

    first = LEAST // 2 - early
    assert asked_at == list(range(first, 3 * LEAST // 2 + 1, LEAST // 2))
