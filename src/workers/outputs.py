"""Encodes what an author's code returns as JSON, if it is what its annotation says and can be read again."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

import msgspec

from headrace.domain.json_limits import MAX_JSON_DEPTH, has_nul, is_nested_deeper
from headrace.domain.pipelines.definition import Node
from headrace.workers.values import OutputError, error_text

MAX_ITEMS: Final = 10_000
_ESCAPED_NUL: Final = b"\\u0000"
_MAX_PATH: Final = 200


def encode_output(node: Node, key: str, value: Any, limit: int) -> str:
    """Return the output of step run *key* as JSON of at most *limit* bytes.

    Raises:
        OutputError: `output_mismatch` (its annotation says something else, or it would not be read as it was
            returned), `output_invalid` (JSON has no such value), `output_too_large`.
    """
    if value is None and node.output_type in (Any, None, type(None)):
        return "null"
    subject = f"the output of step {key!r}"
    encoded = _encode(value, subject)
    if len(encoded) > limit:
        raise OutputError(
            "output_too_large",
            f"{subject} has {len(encoded)} bytes as JSON, at most {limit} are stored; save a file instead",
        )
    _check(value, encoded, node.decode_output, subject, "output_mismatch")
    return encoded.decode()


def compute_items(node: Node, params: Any, limit: int) -> str:
    """Call the author's `for_each` function, and return its items as a JSON array of at most *limit* bytes.

    Raises:
        OutputError: `items_invalid` (there are too many, or one is not what its annotation says),
            `items_too_large`, `output_invalid` (JSON has no such value).
        Exception: any exception that the function raised.
    """
    parts: list[bytes] = []
    size = 2
    for index, item in enumerate(node.for_each(params) if node.for_each is not None else ()):
        if index == MAX_ITEMS:
            raise OutputError("items_invalid", f"step {node.name!r} has more than {MAX_ITEMS} items")
        subject = f"item {index} of step {node.name!r}"
        encoded = _encode(item, subject)
        size += len(encoded) + 1
        if size > limit:
            raise OutputError(
                "items_too_large",
                f"the first {index + 1} items of step {node.name!r} have {size} bytes as JSON, at most"
                f" {limit} are stored; save files and let the items name them",
            )
        _check(item, encoded, node.decode_item, subject, "items_invalid")
        parts.append(encoded)
    return f"[{b','.join(parts).decode()}]"


class OutputLimits(msgspec.Struct, frozen=True):
    """How many bytes of JSON the outputs of a job may have together, and its result."""

    job: int
    result: int


class OutputSizes:
    """The bytes of a job's outputs so far, and of those that are its result."""

    def __init__(self, limits: OutputLimits) -> None:
        self._limits = limits
        self._job = 0
        self._result = 0

    def add(self, node: Node, output: str) -> None:
        """Count an output that is stored already."""
        size = len(output) if output.isascii() else len(output.encode())
        self._job += size
        self._result += size if node.is_result else 0

    def check(self, node: Node, key: str, output: str) -> None:
        """Count a new output.

        Raises:
            OutputError: `outputs_too_large` or `result_too_large`.
        """
        self.add(node, output)
        advice = f"with that of step {key!r}; save files instead"
        if self._result > self._limits.result:
            raise OutputError(
                "result_too_large",
                f"the result of a job has at most {self._limits.result} bytes as JSON, this one has"
                f" {self._result} {advice}",
            )
        if self._job > self._limits.job:
            raise OutputError(
                "outputs_too_large",
                f"the outputs of a job have at most {self._limits.job} bytes as JSON, these have"
                f" {self._job} {advice}",
            )


def _encode(value: Any, subject: str) -> bytes:
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise OutputError("output_invalid", f"{subject} cannot be stored as JSON: {error}") from error


def _plain_number(value: Any) -> Any:
    """Return a scalar of numpy, or of a subclass of a number or text, as a plain value."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a {type(value).__name__} is no JSON value")


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_plain_number)


def _check(value: Any, encoded: bytes, decode: Callable[[Any], Any], subject: str, mismatch: str) -> None:
    """Check that whoever reads *encoded* gets *value*.

    Raises:
        OutputError: *mismatch*, or `output_invalid`.
    """
    if is_nested_deeper(encoded, MAX_JSON_DEPTH):
        raise OutputError("output_invalid", f"{subject} is nested deeper than {MAX_JSON_DEPTH} levels")
    try:
        read = decode(encoded)
    except msgspec.ValidationError as error:
        reason = _difference(value, None, "$") or error_text(error)
        raise OutputError(mismatch, f"{subject} is not what its annotation says: {reason}") from error
    except (ValueError, RecursionError) as error:  # a `msgspec.Raw` may hold anything
        raise OutputError("output_invalid", f"{subject} cannot be stored as JSON: {error}") from error
    loss = None if _are_equal(value, read) else _difference(value, read, "$")
    if loss is not None:
        raise OutputError(mismatch, f"{subject} would not be read as it was returned: {loss}")
    if _ESCAPED_NUL in encoded and has_nul(msgspec.json.decode(encoded)):
        raise OutputError("output_invalid", f"{subject} holds a NUL character, which cannot be stored")


def _are_equal(value: Any, read: Any) -> bool:
    try:
        return bool(value == read)
    except Exception:  # noqa: BLE001  (an author's `__eq__` may raise anything)
        return False


def _difference(value: Any, read: Any, path: str) -> str | None:
    """Return where JSON loses something of *value*, which is read as *read*: NaN, infinities, other keys."""
    number = value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
    if isinstance(number, float) and not math.isfinite(number):
        return f"JSON has no {number} - at `{path[:_MAX_PATH]}`"
    for name, part, part_read in _parts(value, read):
        if isinstance(value, Mapping) and isinstance(read, Mapping) and name not in read:
            return f"the key {name!r} is {type(name).__name__}, JSON has only text - at `{path[:_MAX_PATH]}`"
        inner = f"{path}[{name}]" if isinstance(name, int) else f"{path}.{name}"
        if (reason := _difference(part, part_read, inner)) is not None:
            return reason
    return None


def _parts(value: Any, read: Any) -> Iterable[tuple[Any, Any, Any]]:
    """Yield the name of each part of *value*, the part, and what is read in its place."""
    if isinstance(value, Mapping):
        keyed = read if isinstance(read, Mapping) else {}
        return ((key, part, keyed.get(key)) for key, part in value.items())
    if isinstance(value, list | tuple):
        others = read if isinstance(read, list | tuple) and len(read) == len(value) else [None] * len(value)
        pairs = zip(value, others, strict=True)
        return ((index, part, other) for index, (part, other) in enumerate(pairs))
    if isinstance(value, set | frozenset):
        return ((index, part, None) for index, part in enumerate(value))
    names: Iterable[str] = ()
    if isinstance(value, msgspec.Struct):
        names = type(value).__struct_fields__
    elif is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
    return ((name, getattr(value, name, None), getattr(read, name, None)) for name in names)
