"""Valid and invalid pipeline definitions."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec import Struct

from headrace import Pipeline, PipelineDefinitionError, StepContext, step, task


class Params(Struct):
    items: list[int] = []


@step
async def plain(context: StepContext[Params]) -> int:
    return 1


@step
async def each(context: StepContext[Params], item: int) -> int:
    return item


def pipeline() -> Pipeline:
    return Pipeline("good", version=1, params=Params)


def test_a_step_follows_the_previous_one_unless_after_is_given() -> None:
    built = pipeline()
    first = built.add(plain, name="first")
    built.add(plain, name="second")
    built.add(plain, name="root", after=())
    built.add(each, name="third", after=first, for_each=lambda params: params.items)

    after = {node["name"]: node["after"] for node in built.graph()}

    assert after == {"first": [], "second": ["first"], "root": [], "third": ["first"]}


def test_async_steps_run_in_the_loop_and_others_in_a_thread() -> None:
    @step
    def blocking(context: StepContext[Params]) -> None: ...

    assert (plain.runs_in, blocking.runs_in) == ("loop", "thread")


def async_in_process() -> None:
    step(runs_in="process")(plain.function)


def sync_in_loop() -> None:
    step(runs_in="loop")(lambda context: None)


def no_arguments() -> None:
    step(lambda: None)


def three_arguments() -> None:
    step(lambda context, item, more: None)


def negative_retries() -> None:
    step(retries=-1)(plain.function)


def no_timeout() -> None:
    step(timeout=timedelta(0))(plain.function)


def bad_name() -> None:
    Pipeline("Bad Name", params=Params)


def bad_version() -> None:
    Pipeline("good", version=0, params=Params)


def no_schema() -> None:
    Pipeline("good", params=object)


def not_a_step() -> None:
    pipeline().add(plain.function)  # type: ignore[arg-type]


def same_name_twice() -> None:
    built = pipeline()
    built.add(plain)
    built.add(plain)


def two_results() -> None:
    built = pipeline()
    built.add(plain, name="a", result=True)
    built.add(plain, name="b", result=True)


def item_without_for_each() -> None:
    pipeline().add(each)


def for_each_without_item() -> None:
    pipeline().add(plain, for_each=lambda params: params.items)


def handle_of_another() -> None:
    pipeline().add(plain, after=Pipeline("other", params=Params).add(plain))


def no_weight() -> None:
    pipeline().add(plain, weight=0)


def generator() -> None:
    @step
    def counting(context: StepContext[Params]) -> Iterator[int]:
        yield 1


def async_generator() -> None:
    @step
    async def counting(context: StepContext[Params]) -> AsyncIterator[int]:
        yield 1


def generator_as_a_task() -> None:
    @task
    def counting() -> Iterator[int]:
        yield 1


def async_items() -> None:
    async def items(params: Params) -> list[int]:
        return params.items

    pipeline().add(each, for_each=items)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "mistake",
    [
        generator,
        async_generator,
        generator_as_a_task,
        async_items,
        async_in_process,
        sync_in_loop,
        no_arguments,
        three_arguments,
        negative_retries,
        no_timeout,
        bad_name,
        bad_version,
        no_schema,
        not_a_step,
        same_name_twice,
        two_results,
        item_without_for_each,
        for_each_without_item,
        handle_of_another,
        no_weight,
    ],
)
def test_a_mistake_is_refused_with_a_message_of_one_line(mistake: Callable[[], Any]) -> None:
    with pytest.raises(PipelineDefinitionError) as refused:
        mistake()

    assert "\n" not in str(refused.value)


def test_an_unknown_runs_in_value_is_named() -> None:
    with pytest.raises(PipelineDefinitionError) as refused:
        step(runs_in="moon")(plain.function)  # type: ignore[call-overload]

    assert str(refused.value) == "step 'plain': runs_in is loop, thread or process, not 'moon'"


@pytest.mark.parametrize("name", ["Big", "with-dash", "1st", "a" * 65])
def test_an_invalid_step_name_is_refused(name: str) -> None:
    with pytest.raises(PipelineDefinitionError) as refused:
        pipeline().add(plain, name=name)

    assert str(refused.value) == (
        f"pipeline 'good', step {name!r}: a name is lower-case snake_case, at most 64 long"
    )


def test_an_undefined_annotation_is_named() -> None:
    @step
    async def vague(context: StepContext[Params]) -> "NowhereToBeFound":  # type: ignore[name-defined]  # noqa: F821
        return None

    with pytest.raises(PipelineDefinitionError) as refused:
        pipeline().add(vague)

    assert str(refused.value) == (
        "pipeline 'good', step 'vague': name 'NowhereToBeFound' is not defined; import its types plainly"
    )


def test_the_error_for_an_output_without_a_json_schema_names_the_step() -> None:
    @step
    async def odd(context: StepContext[Params]) -> complex:
        return 1j

    with pytest.raises(
        PipelineDefinitionError, match=r"^pipeline 'good', step 'odd': `complex` has no form in JSON; use"
    ):
        pipeline().add(odd)


def test_the_result_schema_is_that_of_the_result_step() -> None:
    built = pipeline()
    built.add(each, for_each=lambda params: params.items, result=True)

    assert built.result_schema() == {"type": "array", "items": {"type": "integer"}}


def test_a_step_says_what_on_loss_may_be() -> None:
    with pytest.raises(PipelineDefinitionError, match="on_loss is retry or fail, not 'ignore'"):
        step(on_loss="ignore")(lambda context: None)  # type: ignore[call-overload]
