"""`headrace` has the authors' names, each imported when it is first used."""

import importlib

import pytest

import headrace


@pytest.mark.parametrize("name", headrace.__all__)
def test_each_name_is_there_and_listed(name: str) -> None:
    assert getattr(headrace, name).__module__.startswith("headrace.domain.pipelines.")
    assert name in dir(headrace)


def test_another_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'headrace' has no attribute 'Pipelines'"):
        headrace.Pipelines  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Stepp'"):
        exec("from headrace import Stepp")  # noqa: S102


def test_a_star_imports_all_of_them() -> None:
    names: dict[str, object] = {}
    exec("from headrace import *", names)  # noqa: S102
    assert set(headrace.__all__) <= names.keys()
    assert names["task"] is importlib.import_module("headrace.domain.pipelines.tasks").task
