"""Finds incompatible changes in the contract of the sockets. Pure.

Clients read frames: they rely on every type, on every required field, and on its possible values. The server
reads messages: it must still accept every message that released clients send.
"""

from collections.abc import Iterator
from typing import Any, Final

Schema = dict[str, Any]

# Keywords that describe or bound a value; a bound may change.
_SOFT: Final = frozenset({"title", "description", "default", "examples", "minimum", "maximum", "maxLength"})
_MISSING: Final = object()


def broken_promises(released: Schema, current: Schema) -> list[str]:
    """Return the incompatible changes from the *released* to the *current* AsyncAPI document."""
    return sorted({*_lost_channels(released, current), *_changed_messages(released, current)})


def _lost_channels(released: Schema, current: Schema) -> Iterator[str]:
    for name, channel in released["channels"].items():
        now = current["channels"].get(name)
        if now is None or now["address"] != channel["address"]:
            yield f"channel {name} is gone from {channel['address']}"
            continue
        for parameter in _query(channel).keys() - _query(now).keys():
            yield f"channel {name} no longer takes {parameter}"


def _query(channel: Schema) -> Schema:
    parameters: Schema = channel["bindings"]["ws"]["query"]["properties"]
    return parameters


def _changed_messages(released: Schema, current: Schema) -> Iterator[str]:
    for name, operation in released["operations"].items():
        now = {_last(ref) for ref in current["operations"].get(name, {"messages": []})["messages"]}
        for message in map(_last, operation["messages"]):
            if message not in now:
                yield f"{name}: {message} is gone"
                continue
            before, after = (document["components"] for document in (released, current))
            if before["messages"][message]["name"] != after["messages"][message]["name"]:
                yield f"{name}: {message} has another type"
            payload, payload_now = (
                components["messages"][message]["payload"] for components in (before, after)
            )
            yield from _Comparison(before["schemas"], after["schemas"], operation["action"]).of(
                payload, payload_now, message
            )


class _Comparison:
    """Compares the schemas of one direction: clients read `send` and write `receive`."""

    def __init__(self, before: Schema, after: Schema, action: str) -> None:
        self._before, self._after = before, after
        self._is_read = action == "send"
        self._seen: set[str] = set()

    def of(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        if "$ref" in old and "$ref" in new:
            if (key := old["$ref"] + new["$ref"]) in self._seen:
                return
            self._seen.add(key)
        old, new = _resolved(old, self._before), _resolved(new, self._after)
        if not old and (self._is_read or not new):
            return
        for word in (old.keys() | new.keys()) - _SOFT - {"properties", "required", "items", "anyOf", "enum"}:
            if word == "additionalProperties":
                continue
            if old.get(word, _MISSING) != new.get(word, _MISSING):
                yield f"{place}: {word} has changed"
        yield from self._options(old, new, place)
        yield from self._fields(old, new, place)
        for word in ("items", "additionalProperties"):
            # An object without the word may have any other fields.
            default = True if word == "additionalProperties" else None
            below, below_now = old.get(word, default), new.get(word, default)
            if isinstance(below, dict) and isinstance(below_now, dict):
                yield from self.of(below, below_now, f"{place}[]")
            elif below != below_now:
                yield f"{place}: {word} has changed"

    def _options(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        for word in ("enum", "anyOf"):
            before = {str(_plain(option)) for option in old.get(word, ())}
            after = {str(_plain(option)) for option in new.get(word, ())}
            if bool(before) != bool(after):
                yield f"{place}: {word} has changed"
            elif extra := (after - before if self._is_read else before - after):
                yield f"{place}: {'may also be' if self._is_read else 'may no longer be'} {', '.join(extra)}"

    def _fields(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        fields, fields_now = old.get("properties", {}), new.get("properties", {})
        needed, needed_now = set(old.get("required", ())), set(new.get("required", ()))
        for name, schema in fields.items():
            where = f"{place}.{name}"
            if name not in fields_now:
                yield f"{where} is gone"
            elif self._is_read and name in needed - needed_now:
                yield f"{where} may be missing now"
            else:
                yield from self.of(schema, fields_now[name], where)
        if not self._is_read:
            for name in needed_now - needed:
                yield f"{place}.{name} is needed now"


def _resolved(schema: Schema, schemas: Schema) -> Schema:
    return schemas[_last(schema)] if "$ref" in schema else schema


def _plain(option: Any) -> Any:
    if not isinstance(option, dict):
        return option
    return {key: value for key, value in option.items() if key not in _SOFT}


def _last(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]
