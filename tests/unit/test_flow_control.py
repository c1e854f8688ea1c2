"""Bytes in flight to fast and slow clients."""

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.api.server.flow_control import MAX_WINDOW, MIN_WINDOW, SendWindow

PONG_SECONDS = 24.0
PING = -1


class Client:
    """Reads like a client library: until its queue is full, and again once the queue is low."""

    def __init__(self, messages_per_second: float, queue: int, low: int) -> None:
        self._messages_per_second, self._high, self._low = messages_per_second, queue, low
        self._wire: deque[int] = deque()
        self._queued = 0.0
        self._is_paused = False

    def send(self, message: int) -> None:
        self._wire.append(message)

    def live(self, seconds: float) -> bool:
        """Let the user read for *seconds*; return whether a pong was sent."""
        self._queued = max(0.0, self._queued - self._messages_per_second * seconds)
        if self._queued <= self._low:
            self._is_paused = False
        if self._is_paused:
            return False
        # Everything that has arrived is read in one call.
        has_pong = PING in self._wire
        self._queued += sum(message != PING for message in self._wire)
        self._wire.clear()
        self._is_paused = self._queued > self._high
        return has_pong


def longest_wait(client: Client, messages_per_second: float, backlog: int, *, seconds: float = 80.0) -> float:
    """Return the time until the slowest pong."""
    window, now, owed, longest = SendWindow(), 0.0, float(backlog), 0.0
    pinged_at = 0.0
    tick = 0.02
    client.send(PING)
    window.ping_sent(now)
    while now < seconds:
        now += tick
        owed += messages_per_second * tick
        if client.live(tick):
            longest = max(longest, now - pinged_at)
            window.pong_received(now)
        while owed >= 1 and not window.is_full:
            client.send(0)
            window.count()
            owed -= 1
            if window.is_ping_due:
                client.send(PING)
                window.ping_sent(now)
                pinged_at = now
        if window.is_ping_due:
            client.send(PING)
            window.ping_sent(now)
            pinged_at = now
    return longest


@settings(max_examples=40)
@given(st.sampled_from([0, 20, 5000]), st.floats(5, 300), st.sampled_from([(0, 0), (1, 0), (16, 4)]))
def test_a_client_that_reads_one_message_a_second_always_answers_pings_in_time(
    backlog: int, messages_per_second: float, queue: tuple[int, int]
) -> None:
    assert longest_wait(Client(1.0, *queue), messages_per_second, backlog) < PONG_SECONDS


def test_the_window_of_a_fast_client_grows_to_the_maximum() -> None:
    window, now = SendWindow(), 100.0
    window.ping_sent(now)
    window.pong_received(now + 0.1)

    windows = []
    for _ in range(40):
        while not window.is_full:
            window.count()
        window.ping_sent(now)
        now += 0.1
        window.pong_received(now)
        windows.append(window.size)

    assert windows == sorted(windows)
    assert windows[-1] == MAX_WINDOW


def test_one_slow_pong_shrinks_the_window_to_the_minimum() -> None:
    window = SendWindow()
    for moment in range(10):
        for _ in range(MIN_WINDOW):
            window.count()
        window.ping_sent(moment / 10)
        window.pong_received(moment / 10 + 0.05)
    assert window.size > MIN_WINDOW

    window.ping_sent(2.0)
    window.pong_received(6.0)

    assert window.size == MIN_WINDOW


def test_a_client_that_was_never_pinged_is_not_held_back() -> None:
    window = SendWindow()

    for _ in range(1000):
        window.count()

    assert not window.is_full
    assert window.is_ping_due


def test_messages_sent_after_a_ping_stay_unread_when_its_pong_arrives() -> None:
    window = SendWindow()
    window.count()
    window.ping_sent(0.0)
    window.count()
    window.pong_received(0.1)

    assert window.unread == 1

    window.pong_received(0.2)
    assert window.unread == 1


@given(lead=st.integers(0, MIN_WINDOW // 2 - 1))
def test_the_lead_of_a_window_shifts_all_its_pings(lead: int) -> None:
    window = SendWindow(lead)
    window.ping_sent(0.0)
    window.pong_received(0.0)

    pinged_at = []
    for message in range(1, 3 * MIN_WINDOW // 2 + 1):
        window.count()
        if window.is_ping_due:
            pinged_at.append(message)
            window.ping_sent(message)
            window.pong_received(message)

    first = MIN_WINDOW // 2 - lead
    assert pinged_at == list(range(first, 3 * MIN_WINDOW // 2 + 1, MIN_WINDOW // 2))
