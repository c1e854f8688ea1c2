"""A TTL cache returns stored values until they expire."""

from headrace.domain.ttl_cache import TtlCache


class Clock:
    """A clock in seconds that a test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def cache_of(clock: Clock, max_entries: int = 10) -> TtlCache[str, int]:
    return TtlCache(ttl_seconds=1.0, max_entries=max_entries, clock=clock)


def test_a_value_is_returned_until_it_expires() -> None:
    clock = Clock()
    cache = cache_of(clock)
    cache.put("a", 1)

    clock.now += 0.99
    assert cache.get("a") == 1
    clock.now += 0.01
    assert cache.get("a") is None
    assert cache.get("b") is None


def test_the_lifetime_starts_at_the_given_time() -> None:
    clock = Clock()
    cache = cache_of(clock)
    began = cache.now()
    clock.now += 0.6

    cache.put("a", 1, as_of=began)

    assert cache.get("a") == 1
    clock.now += 0.4
    assert cache.get("a") is None


def test_storing_again_renews_an_entry() -> None:
    clock = Clock()
    cache = cache_of(clock)
    cache.put("a", 1)
    clock.now += 0.9

    cache.put("a", 2)
    clock.now += 0.9

    assert cache.get("a") == 2


def test_the_entry_that_was_stored_first_is_evicted() -> None:
    cache = cache_of(Clock(), max_entries=2)
    cache.put("a", 1)
    cache.put("b", 2)
    cache.put("a", 3)

    cache.put("c", 4)

    assert [cache.get(key) for key in "abc"] == [3, None, 4]


def test_a_cleared_cache_is_empty() -> None:
    cache = cache_of(Clock())
    cache.put("a", 1)

    cache.clear()

    assert cache.get("a") is None


def test_an_evicted_entry_is_gone() -> None:
    cache = cache_of(Clock())
    cache.put("a", 1)

    cache.evict("a")
    cache.evict("b")

    assert cache.get("a") is None
