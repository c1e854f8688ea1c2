"""The items of a `for_each` step as an attempt reads them from the database."""

import threading

import pytest

from headrace.domain.jobs.attempts import stored_items
from headrace.domain.jobs.attempts.stored_items import read_items, split_items
from headrace.domain.json_limits import MAX_LOOP_CHARS


def test_an_item_keeps_its_original_json() -> None:
    items = split_items('[1.0, {"a": [1, 2]} ,"\\u00e9 é",null]')

    assert items == ("1.0", '{"a": [1, 2]}', '"\\u00e9 é"', "null")


@pytest.mark.parametrize(("size", "is_in_loop"), [(1, True), (MAX_LOOP_CHARS, False)])
async def test_long_arrays_are_split_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, size: int, is_in_loop: bool
) -> None:
    threads = []

    def split(array: str) -> tuple[str, ...]:
        threads.append(threading.current_thread())
        return split_items(array)

    monkeypatch.setattr(stored_items, "split_items", split)
    item = f'"{"x" * size}"'

    assert await read_items(f"[{item},2]") == (item, "2")
    assert [thread is threading.current_thread() for thread in threads] == [is_in_loop]
