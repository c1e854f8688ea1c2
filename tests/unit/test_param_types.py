"""The API accepts params exactly when a worker decodes them, for many types and values."""

import copy
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import Pipeline
from headrace.domain.pipelines.catalogue import CachedPipeline
from headrace.domain.pipelines.service import Fault, ParamsInvalidError, check_params
from support.param_types import (
    DATE_TIMES,
    DICT,
    KEYS,
    LIST,
    SCALARS,
    SETS,
    TEXTS,
    TUPLE,
    TYPES,
    UNIONS,
    Typed,
)

ODD_VALUES: Final[list[Any]] = [
    *(None, True, 0, 1, -1, 7, 1.0, 1.5, 100.0, 1e22, 10**400, -(10**400), 0.3),
    *([], {}, [1, 1], [None], {"type": "Circle"}, {"type": "Oval"}, {"first": 1}, {"1": 1}, {"x": None}),
    *(
        [1, "03:04:05"],
        [1, "abc"],
        ["row", f"{7:032}", "2030-01-02", "abc"],
        {"start": "2030-01-02T03:04:05"},
    ),
    *(
        "",
        "yesterday",
        "abc",
        "1",
        "1.0",
        "1e400",
        "NaN",
        "null",
        "%%%",
        "AA",
        "AA==",
        "AAAA",
        "AAAAAAA=",
    ),
    *(
        "2030-01-02",
        "2030-02-30",
        "2030-01-02T03:04:05",
        "2030-01-02T03:04:05Z",
        "2030-01-02T03:04:05+01",
    ),
    *("03:04:05", "03:04:05+01:00", "25:00:00", "03:04", "P1D", "P1W", "P1Y", "PT", "5 minutes"),
    *("12345678123456781234567812345678", "12345678-1234-1234-1234-123456789", "red", "1_000", " 1"),
]
ODD_KEYS: Final = [
    "1",
    "01",
    "-0",
    "+1",
    "1.0",
    "51",
    "NaN",
    "x",
    "",
    "AA==",
    "AAA=",
    "2030-01-02",
    "red",
    "7",
    "first",
]
ODD: Final = st.sampled_from(ODD_VALUES)

_versions = count(1)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(part, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def altered(draw: Callable[[Any], Any], value: Any) -> Any:
    """Return *value* with a change at one place below the top."""
    changed = copy.deepcopy(value)
    paths = [path for path in places(changed) if path]
    if not paths:
        return {draw(st.sampled_from(ODD_KEYS)): draw(ODD)}
    path = draw(st.sampled_from(paths))
    parent, key = at(changed, path[:-1]), path[-1]
    old = parent[key]
    how = draw(st.sampled_from(["replace", "remove", "add", "twist"]))
    if how == "remove":
        del parent[key]
    elif how == "add" and isinstance(parent, dict):
        parent[draw(st.sampled_from(ODD_KEYS) | TEXTS)] = copy.deepcopy(old)
    elif how == "add":
        parent.append(draw(ODD))
    elif how == "twist" and isinstance(old, str):
        parent[key] = draw(
            st.sampled_from([old[:-1], f"{old}Z", f"{old} ", old.upper(), f"{old}=", f" {old}"])
        )
    elif how == "twist" and isinstance(old, int | float):
        parent[key] = draw(st.sampled_from([old + 1, -old, str(old), [old]]))
    else:
        parent[key] = draw(ODD | DATE_TIMES)
    return changed


@st.composite
def submissions(draw: Any) -> tuple[Pipeline, Any]:
    first: Typed = draw(TYPES)
    second: Typed = draw(TYPES)
    params = msgspec.defstruct("Params", [("a", first[0]), ("b", second[0] | None, None)])
    value = draw(st.fixed_dictionaries({"a": first[1]}, optional={"b": second[1]}))
    for _ in range(draw(st.integers(0, 2))):
        value = altered(draw, value)
    return Pipeline("typed", params=params), value


def faults_of(pipeline: Pipeline, params: Any, version: int) -> list[Fault] | None:
    """Return the faults for which the API refuses *params*; None if it accepts them.

    The schema is the one that the database would return. *version* is another one for each type.
    """
    schema = msgspec.json.decode(msgspec.json.encode(pipeline.params_schema()))
    registered = CachedPipeline(pipeline.name, version, schema, datetime(2030, 1, 1, tzinfo=UTC), True)
    try:
        check_params(registered, params)
    except ParamsInvalidError as error:
        return error.faults
    return None


def is_decoded(pipeline: Pipeline, params: Any) -> bool:
    try:
        pipeline.decode_params(msgspec.json.encode(params))
    except msgspec.MsgspecError:
        return False
    return True


def is_allowed_difference(pipeline: Pipeline, params: Any, faults: list[Fault] | None) -> bool:
    """Return whether API and worker may differ, for one of these reasons.

    Stricter API: the items of a set are unique, because a repeated item is a mistake of the caller.
    Stricter API: patterns are those of JSON Schema, where `$` is not before a last newline.
    Stricter API: a struct with a tag needs its tag, also outside a union.
    """
    if faults is None:
        return False
    if faults and all(fault.message == '"type" is a required property' for fault in faults):
        return True
    schema = msgspec.json.encode(pipeline.params_schema())
    if b"uniqueItems" in schema and any(has_equal_items(at(params, path)) for path in places(params)):
        return True
    return b"_[0-9]$" in schema and b"\\n" in msgspec.json.encode(params)


def has_equal_items(value: Any) -> bool:
    return isinstance(value, list) and any(item in value[:index] for index, item in enumerate(value))


def check(pipeline: Pipeline, written: Any, version: int) -> None:
    params = msgspec.json.decode(msgspec.json.encode(written))

    faults, decoded = faults_of(pipeline, params, version), is_decoded(pipeline, params)

    assert (faults is None) == decoded or is_allowed_difference(pipeline, params, faults), (written, faults)
    assert faults is None or (faults and all(fault.path.startswith("$.params") for fault in faults))


@pytest.mark.parametrize("kind", [kind for kind, _ in SCALARS + SETS + UNIONS], ids=str)
def test_each_odd_value_of_each_type_is_refused_if_no_worker_decodes_it(kind: Any) -> None:
    for field in (kind, kind | None, LIST[kind], TUPLE[kind, int]):
        pipeline = Pipeline("typed", params=msgspec.defstruct("Params", [("a", field)]))
        version = next(_versions)
        for value in ODD_VALUES:
            for written in (value, [value], [value, 1]):
                check(pipeline, {"a": written}, version)


@pytest.mark.parametrize("kind", [kind for kind, _ in KEYS], ids=str)
def test_each_odd_key_of_each_type_is_refused_if_no_worker_decodes_it(kind: Any) -> None:
    pipeline = Pipeline("typed", params=DICT[kind, int])
    version = next(_versions)
    for key in [*ODD_KEYS, *(value for value in ODD_VALUES if isinstance(value, str))]:
        check(pipeline, {key: 1}, version)


@settings(max_examples=500)
@given(submissions())
def test_the_api_accepts_what_a_worker_decodes(submission: tuple[Pipeline, Any]) -> None:
    pipeline, written = submission

    check(pipeline, written, next(_versions))


@settings(max_examples=200)
@given(TYPES)
def test_a_refined_schema_is_valid_json_schema(typed: Typed) -> None:
    schema = Pipeline("typed", params=msgspec.defstruct("Params", [("a", typed[0])])).params_schema()

    assert jsonschema_rs.meta.is_valid(schema)
    assert schema == msgspec.json.decode(msgspec.json.encode(schema))
