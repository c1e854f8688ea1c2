"""A part of an output that its class does not compare is stored as it was returned, or refused."""

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import pytest

from headrace.workers.comparisons import compares_all
from headrace.workers.outputs import encode_output
from headrace.workers.values import OutputError
from support.param_types import LIST
from support.worker_builders import returning


@dataclass(frozen=True)
class Take:
    name: str
    score: float | None = field(default=None, compare=False)
    marks: dict[Any, Any] = field(default_factory=dict, compare=False)


class Named(msgspec.Struct):  # noqa: PLW1641
    name: str
    score: float | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and self.name == other.name


class Pair(NamedTuple):  # noqa: PLW1641
    name: str
    score: float | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pair) and self.name == other.name


class Holder(msgspec.Struct):
    take: Take


@dataclass
class Written:  # noqa: PLW1641
    name: str
    score: float | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Written) and self.name == other.name


@dataclass
class Plain:
    name: str
    score: float | None = None


class Colour(enum.Enum):
    RED = "red"


class PlainPair(NamedTuple):
    name: str


class Tree(msgspec.Struct):
    plain: Plain
    colours: list[Colour] = []
    inner: "Tree | None" = None


@pytest.mark.parametrize("kind", [Take, Named, Pair, Written])
@pytest.mark.parametrize("score", [math.nan, math.inf, 2**53 + 1])
@pytest.mark.parametrize("wrap", [lambda kind: kind, lambda kind: LIST[kind]], ids=["alone", "list"])
def test_a_number_that_is_not_compared_is_refused_if_it_changes(
    kind: Any, score: float, wrap: Callable[[Any], Any]
) -> None:
    shape = wrap(kind)
    value = kind("a", score)

    with pytest.raises(OutputError) as caught:
        encode_output(returning(shape), "mix", value if shape is kind else [value], 1_000)

    assert caught.value.code == "output_mismatch"
    kept = kind("a", 0.5)
    assert "0.5" in encode_output(returning(shape), "mix", kept if shape is kind else [kept], 1_000)


@pytest.mark.parametrize(
    ("value", "shape", "reason"),
    [
        (Holder(Take("a", math.nan)), Holder, "JSON has no nan - at `$.take.score`"),
        ({Take("a", math.nan)}, set[Take], "the element"),
        (Take("a", None, {1: 2}), Take, "the key 1 is int"),
    ],
)
def test_what_is_not_compared_is_found_within_other_values(value: Any, shape: Any, reason: str) -> None:
    with pytest.raises(OutputError) as caught:
        encode_output(returning(shape), "mix", value, 1_000)

    assert caught.value.code == "output_mismatch"
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "shape", [Any, int, list[float], dict[str, Plain], Plain, PlainPair, Colour, Tree, set[Plain]]
)
def test_ordinary_types_compare_all_their_parts(shape: Any) -> None:
    assert compares_all(shape)


@pytest.mark.parametrize("shape", [Take, Named, Pair, Written, Holder, list[Take], Take | None])
def test_types_that_leave_out_fields_do_not(shape: Any) -> None:
    assert not compares_all(shape)
