"""A worker registers a pipeline: new, unchanged or changed, against a fake database."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from headrace import Pipeline, StepContext, step
from headrace.domain.pipelines.registry import PipelineChangedError, register


class Params(Struct):
    many: int = 1


@step
async def only(context: StepContext[Params]) -> int:
    return 1


class FakeDatabase:
    """Records the first word of each statement; the options say what the pipelines table contains."""

    def __init__(self, *, is_registered: bool, is_same: bool = False) -> None:
        self.is_registered = is_registered
        self.is_same = is_same
        self.ran: list[str] = []
        self.arguments: tuple[Any, ...] = ()

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[dict[str, Any]]:
        word = statement.split(maxsplit=1)[0]
        self.ran.append(word)
        self.arguments = arguments
        if word == "INSERT":
            return [] if self.is_registered else [{"id": 1}]
        return [{"is_same": self.is_same}] if word == "SELECT" else []


def pipeline() -> Pipeline:
    counting = Pipeline("counting", version=3, params=Params, description="counts")
    counting.add(only, result=True)
    return counting


async def test_a_new_version_is_added() -> None:
    database = FakeDatabase(is_registered=False)

    await register(database, pipeline(), may_replace=False)

    assert database.ran == ["INSERT"]
    name, version, description, graph, schema, result = database.arguments[1:]
    assert (name, version, description, result) == ("counting", 3, "counts", '{"type":"integer"}')
    assert [node["name"] for node in msgspec.json.decode(graph)] == ["only"]
    assert "Params" in schema


async def test_an_unchanged_version_is_kept() -> None:
    database = FakeDatabase(is_registered=True, is_same=True)

    await register(database, pipeline(), may_replace=True)

    assert database.ran == ["INSERT", "SELECT"]


async def test_a_changed_version_is_refused_if_it_may_not_be_replaced() -> None:
    database = FakeDatabase(is_registered=True)

    with pytest.raises(PipelineChangedError) as refused:
        await register(database, pipeline(), may_replace=False)

    assert database.ran == ["INSERT", "SELECT"]
    assert str(refused.value) == (
        "pipeline 'counting' version 3 is registered with another graph; raise its version"
    )


async def test_a_changed_version_is_replaced_if_it_may_be() -> None:
    database = FakeDatabase(is_registered=True)

    await register(database, pipeline(), may_replace=True)

    assert database.ran == ["INSERT", "SELECT", "UPDATE"]
