"""Reads the items of a `for_each` step as they are stored: one JSON array, split into the JSON of each."""

import asyncio

import msgspec

from headrace.domain.json_limits import MAX_LOOP_CHARS


async def read_items(array: str) -> tuple[str, ...]:
    """Return the JSON of each item; a long *array* is split in a thread."""
    if len(array) <= MAX_LOOP_CHARS:
        return split_items(array)
    return await asyncio.to_thread(split_items, array)


def split_items(array: str) -> tuple[str, ...]:
    """Return the JSON of each item, unchanged."""
    items: list[msgspec.Raw] = msgspec.json.decode(array, type=list[msgspec.Raw])
    return tuple(bytes(item).decode() for item in items)
