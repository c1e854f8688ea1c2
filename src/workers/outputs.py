"""Encodes what an author's code returns as JSON, if it is what its annotation says and can be read again."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from headrace.domain.json_decoding import decode_json
from headrace.domain.json_limits import ESCAPED_NUL, MAX_JSON_DEPTH, is_nested_deeper
from headrace.domain.pipelines.definition import Node
from headrace.workers.comparisons import compares_all
from headrace.workers.json_faults import ENCODER, NOT_ENCODABLE, find_fault, find_nul
from headrace.workers.losses import are_equal, find_loss
from headrace.workers.unfinished_values import explain_unfinished
from headrace.workers.value_parts import at_path
from headrace.workers.values import OutputError, error_text

MAX_ITEMS: Final = 10_000
# Outside of texts, where only a `msgspec.Raw` has them; frames of the event stream are single lines.
_TO_ONE_LINE: Final = str.maketrans("\r\n", "  ")


def encode_output(node: Node, key: str, value: Any, limit: int) -> str:
    """Return the output of step run *key* as JSON of at most *limit* bytes.

    Raises:
        OutputError: `output_mismatch` (its annotation says something else, or it would not be read as it was
            returned), `output_invalid` (JSON has no such value), `output_too_large`.
    """
    if value is None and node.output_type in (Any, None, type(None)):
        return "null"
    levels = MAX_JSON_DEPTH if node.for_each is None else MAX_JSON_DEPTH - 1
    subject = f"the output of step {key!r}"
    encoded = _encode(value, subject, "output_mismatch")
    if len(encoded) > limit:
        raise OutputError(
            "output_too_large",
            f"{subject} has {len(encoded)} bytes as JSON, at most {limit} are stored; save a file instead",
        )
    _check_depth(encoded, levels, subject)
    return _check(value, encoded, node.decode_output, node.output_type, subject, "output_mismatch")


def compute_items(node: Node, params: Any, limit: int) -> list[str]:
    """Call the author's `for_each` function, and return its items, each as JSON.

    As an array they have at most *limit* bytes.

    Raises:
        OutputError: `items_invalid` (there are too many, or one is not what its annotation says),
            `items_too_large`, `output_invalid` (JSON has no such value).
        Exception: any exception that the function raised.
    """
    parts: list[str] = []
    size = 2
    for index, item in enumerate(_call_for_each(node, params)):
        if index == MAX_ITEMS:
            raise OutputError("items_invalid", f"step {node.name!r} has more than {MAX_ITEMS} items")
        subject = f"item {index} of step {node.name!r}"
        encoded = _encode(item, subject, "items_invalid")
        size += len(encoded) + 1
        if size > limit:
            raise OutputError(
                "items_too_large",
                f"the first {index + 1} items of step {node.name!r} have {size} bytes as JSON, at most"
                f" {limit} are stored; save files and let the items name them",
            )
        _check_depth(encoded, MAX_JSON_DEPTH - 1, subject)
        parts.append(_check(item, encoded, node.decode_item, node.item_type, subject, "items_invalid"))
    return parts


def _call_for_each(node: Node, params: Any) -> Iterable[Any]:
    items = () if node.for_each is None else node.for_each(params)
    # A plain generator is iterated like a list.
    if not inspect.isgenerator(items) and (reason := explain_unfinished(items)) is not None:
        raise OutputError("items_invalid", f"the items of step {node.name!r} are not there: {reason}")
    return items


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
        if node.is_result and node.for_each is None:
            self._result = size
        elif node.is_result:
            # A list has a bracket or a comma before each output, and a bracket behind the last.
            self._result = (self._result or 1) + size + 1

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


def _encode(value: Any, subject: str, mismatch: str) -> bytes:
    try:
        return ENCODER.encode(value)
    except NOT_ENCODABLE as error:
        fault = find_fault(value, error)
        code = mismatch if fault.is_mismatch else "output_invalid"
        raise OutputError(code, f"{subject} cannot be stored as JSON: {fault.reason}") from error


def _check_depth(encoded: bytes, levels: int, subject: str) -> None:
    if is_nested_deeper(encoded, levels):
        raise OutputError("output_invalid", f"{subject} is nested deeper than {levels} levels")


def _check(
    value: Any, encoded: bytes, decode: Callable[[Any], Any], shape: Any, subject: str, mismatch: str
) -> str:
    """Check that a later step reads *value* from *encoded*, and return *encoded* as text of one line.

    Raises:
        OutputError: *mismatch*, or `output_invalid`.
    """
    try:
        read = decode(encoded)
    except msgspec.ValidationError as error:
        _require_readable(encoded, subject)
        reason = find_fault(value, error).reason
        raise OutputError(mismatch, f"{subject} is not what its annotation says: {reason}") from error
    except (ValueError, RecursionError) as error:  # a `msgspec.Raw` may hold anything
        raise _unreadable(subject, error) from error
    is_same = are_equal(value, read) and compares_all(shape)
    loss = None if is_same else find_loss(value, read, shape)
    del read  # before another copy of a value that may be large
    if loss is not None:
        raise OutputError(mismatch, f"{subject} would not be read as it was returned: {loss}")
    if ESCAPED_NUL in encoded and (path := find_nul(decode_json(encoded))) is not None:
        reason = at_path("holds a NUL character, which cannot be stored", path)
        raise OutputError("output_invalid", f"{subject} {reason}")
    try:
        text = encoded.decode()
    except ValueError as error:  # see above
        raise _unreadable(subject, error) from error
    return text.translate(_TO_ONE_LINE) if b"\n" in encoded or b"\r" in encoded else text


def _require_readable(encoded: bytes, subject: str) -> None:
    """Check that *encoded* can be read at all, which the JSON of a `msgspec.Raw` need not be."""
    try:
        decode_json(encoded)
    except (ValueError, RecursionError) as error:
        raise _unreadable(subject, error) from error


def _unreadable(subject: str, error: Exception) -> OutputError:
    return OutputError("output_invalid", f"{subject} cannot be stored as JSON: {error_text(error)}")
