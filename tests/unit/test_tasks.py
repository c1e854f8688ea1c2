"""`@task`: the pipeline that is made from a function with plain arguments."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta, Struct
from pydantic import BaseModel

from headrace import Pipeline, PipelineDefinitionError, StepContext, Task, task


@dataclass
class Spot:
    x: int


class Model(BaseModel):
    y: int = 1


class Other(BaseModel):
    z: str


class Plain(Struct):
    z: str


@task
async def resize(width: int, height: int = 3) -> str:
    """Resize a picture
    in its folder.

    The rest is for readers of the code.
    """
    return f"{width}x{height}"


@task(
    name="other",
    version=7,
    description="Counts words.",
    retries=1,
    timeout=timedelta(seconds=5),
    runs_in="process",
    grace=timedelta(seconds=1),
    on_loss="fail",
)
def count(context: StepContext, words: Annotated[list[str], Meta(max_length=2)], *, factor: int = 1) -> int:
    return len(words) * factor + int(context.attempt)


def run_step(pipeline: Pipeline, params: dict[str, Any], **context: Any) -> Any:
    (node,) = pipeline.nodes.values()
    decoded = pipeline.decode_params(msgspec.json.encode(params))
    returned = node.step.function(SimpleNamespace(params=decoded, **context))
    return asyncio.run(returned) if node.step.runs_in == "loop" else returned


def test_a_task_is_a_pipeline_of_one_step_with_the_functions_arguments_as_params() -> None:
    assert isinstance(resize, Pipeline)
    assert (resize.name, resize.version, resize.description) == (
        "resize",
        1,
        "Resize a picture in its folder.",
    )
    schema = resize.params_schema()["$defs"]["ResizeParams"]
    assert schema["properties"] == {"width": {"type": "integer"}, "height": {"type": "integer", "default": 3}}
    assert (schema["required"], schema["additionalProperties"]) == (["width"], False)
    assert resize.result_schema() == {"type": "string"}
    (graph,) = resize.graph()
    assert (graph["name"], graph["runs_in"], graph["result"]) == ("resize", "loop", True)


def test_its_step_passes_the_params_by_name() -> None:
    assert run_step(resize, {"width": 4}) == "4x3"
    assert run_step(resize, {"height": 1, "width": 4}) == "4x1"
    assert run_step(count, {"words": ["a", "b"], "factor": 10}, attempt=3) == 23


def test_it_takes_the_options_of_a_step_and_of_a_pipeline() -> None:
    assert (count.name, count.version, count.description) == ("other", 7, "Counts words.")
    (node,) = count.nodes.values()
    step = node.step
    assert (node.name, step.retries, step.timeout, step.runs_in, step.grace, step.on_loss) == (
        "other",
        1,
        timedelta(seconds=5),
        "process",
        timedelta(seconds=1),
        "fail",
    )
    assert "context" not in count.params_schema()["$defs"]["CountParams"]["properties"]


def test_calling_a_task_calls_the_function() -> None:
    assert asyncio.run(resize(3)) == "3x3"
    context: Any = SimpleNamespace(attempt=1)
    assert count(context, ["a"], factor=2) == 3


def test_a_function_without_arguments_has_empty_params() -> None:
    @task
    def ping() -> None: ...

    @task
    def pong(context) -> None:  # type: ignore[no-untyped-def]
        assert context.attempt == 1

    assert run_step(ping, {}) is None
    assert run_step(pong, {}, attempt=1) is None


def test_arguments_may_have_any_type_and_default_that_params_may_have() -> None:
    shared = Spot(1)

    initial, numbers, no_tags = Model(), [1], list[str]()

    @task
    def draw(
        day: date,
        spot: Spot = shared,
        model: Model = initial,
        tags: list[str] = no_tags,
        names: list[int] = numbers,
    ) -> list[Any]:
        spot.x += 1
        names.append(2)
        return [day, spot, model, tags, names]

    for _ in range(2):
        assert run_step(draw, {"day": "2030-01-02"}) == [date(2030, 1, 2), Spot(2), Model(), [], [1, 2]]
    assert run_step(draw, {"day": "2030-01-02", "spot": {"x": 5}, "model": {"y": 6}, "tags": ["a"]}) == [
        *(date(2030, 1, 2), Spot(6), Model(y=6), ["a"], [1, 2])
    ]
    assert shared == Spot(1)


def test_arguments_may_be_unions_of_models() -> None:
    @task
    def pick(choice: Model | Other, size: int = 2, names: list[str] = []) -> list[Any]:  # noqa: B006
        names.append("a")
        return [choice, size, names]

    for _ in range(2):
        assert run_step(pick, {"choice": {"z": "a"}}) == [Other(z="a"), 2, ["a"]]
    assert run_step(pick, {"choice": {"y": 4}, "size": 3}) == [Model(y=4), 3, ["a"]]
    assert pick.params_schema()["$defs"]["PickParams"]["additionalProperties"] is False


def test_an_argument_may_be_called_context_if_it_is_annotated() -> None:
    @task
    def explain(context: str) -> str:
        return context

    assert run_step(explain, {"context": "a"}) == "a"


def untyped(width) -> int:  # type: ignore[no-untyped-def]
    return int(width)


def variadic(*names: str) -> None: ...


def keywords(**names: str) -> None: ...


def positional(name: str, /) -> None: ...


def odd(value: complex) -> None: ...


def unresolved(value: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821


def mixed(choice: Model | Other, plain: Plain) -> None: ...


class Callee:
    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (untyped, "task 'untyped': argument 'width' has no annotation"),
        (variadic, "task 'variadic': '*names: str' cannot be passed by name, as parameters are"),
        (keywords, "task 'keywords': '**names: str' cannot be passed by name, as parameters are"),
        (positional, "task 'positional': 'name: str' cannot be passed by name, as parameters are"),
        (odd, "pipeline 'odd', params: `complex` has no form in JSON"),
        (unresolved, "task 'unresolved': name 'Missing' is not defined; import its types plainly"),
        (mixed, "task 'mixed': Unable to generate pydantic-core schema for <class "),
        (Callee(), "@task takes a function, not <"),
        (resize, "@task takes a function, not <"),
    ],
)
def test_a_function_that_cannot_be_a_task_is_refused(function: Callable[..., Any], reason: str) -> None:
    with pytest.raises(PipelineDefinitionError) as refused:
        task(function)
    assert str(refused.value).startswith(reason)


def test_wrong_options_are_refused_as_those_of_a_step() -> None:
    with pytest.raises(PipelineDefinitionError, match="an async function runs in the loop"):
        task(runs_in="thread")(resize.function)
    with pytest.raises(PipelineDefinitionError, match="a name is lower-case snake_case"):
        task(name="Bad-Name")(resize.function)


def test_the_class_can_be_named_in_annotations() -> None:
    def name_of(made: Task[..., Any]) -> str:
        return made.name

    assert name_of(resize) == "resize"
