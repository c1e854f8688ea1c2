"""What a worker does with a pipeline version that is registered already."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from headrace import Pipeline, StepContext, step
from headrace.domain.pipelines.registration import PipelineChangedError, Registered, next_step
from headrace.domain.pipelines.stored_definition import StoredDefinition, breaking_changes

KEY = ("counting", 3)


class Params(Struct):
    many: int = 1


class WiderParams(Struct):
    many: int = 2
    more: int | None = None


class OtherParams(Struct):
    many: str = "1"


class Counted(Struct):
    lines: int


class Recounted(Struct):
    lines: int
    words: int = 0


@step
async def first(context: StepContext[Params]) -> int:
    return 1


@step(retries=9, timeout=timedelta(minutes=7), grace=timedelta(seconds=3), on_loss="fail")
async def tuned(context: StepContext[Params]) -> int:
    return 1


@step(runs_in="thread")
def threaded(context: StepContext[Params]) -> int:
    return 1


@step
async def counted(context: StepContext[Params]) -> Counted:
    return Counted(1)


@step
async def recounted(context: StepContext[Params]) -> Recounted:
    return Recounted(1)


@step
async def each(context: StepContext[Params], item: int) -> int:
    return item


@step
async def each_text(context: StepContext[Params], item: str) -> int:
    return len(item)


def definition(
    *steps: Any, params: Any = Params, description: str = "counts", **options: Any
) -> StoredDefinition:
    """Return a pipeline with these steps; the first is the result. *options* are those of the last."""
    pipeline = Pipeline(*KEY[:1], version=KEY[1], params=params, description=description)
    for number, one in enumerate(steps):
        more = options if number == len(steps) - 1 else {}
        pipeline.add(one, name=f"step_{number}", **{"result": number == 0, **more})
    return StoredDefinition.of(pipeline)


def row(stored: StoredDefinition, **more: Any) -> Registered:
    values = {"superseded": [], "is_confirmed": True, "is_bound": True, **more}
    return Registered(definition=stored, updated_at=datetime(2026, 1, 1, tzinfo=UTC), **values)


OWN = definition(first)


def test_the_same_definition_is_confirmed() -> None:
    assert next_step(KEY, row(OWN), definition(first), may_replace=False, is_start=True) == "confirm"


@pytest.mark.parametrize(
    "changed",
    [
        definition(first, description="counts lines"),
        definition(tuned),
        definition(threaded),
        definition(first, weight=7),
        definition(first, params=WiderParams),
    ],
)
def test_what_breaks_no_job_is_taken_over(changed: StoredDefinition) -> None:
    assert changed != OWN
    assert next_step(KEY, row(OWN), changed, may_replace=False, is_start=True) == "replace"


BREAKING: list[tuple[StoredDefinition, StoredDefinition, list[str]]] = [
    (OWN, definition(first, params=OtherParams), ["$.params.many: was integer, is string"]),
    (OWN, definition(first, first), ["$.steps.step_1: is a new step"]),
    (definition(first, first), OWN, ["$.steps.step_1: was removed or renamed"]),
    (
        definition(first, first),
        definition(first, first, after=()),
        ['$.steps.step_1.after: was ["step_0"], is []'],
    ),
    (OWN, definition(first, result=False), ["$.steps.step_0.result: was true, is false"]),
    (
        definition(first, result=False),
        definition(each, for_each=lambda params: [params.many], result=False),
        ["$.steps.step_0.for_each: was false, is true"],
    ),
    (definition(counted), OWN, ["$.steps.step_0.output: was Counted with fields, is integer"]),
    (
        definition(counted),
        definition(recounted),
        ["$.steps.step_0.output.words: accepts more than before"],
    ),
    (
        definition(each, for_each=lambda params: [params.many]),
        definition(each_text, for_each=lambda params: [str(params.many)]),
        ["$.steps.step_0.item: was integer, is string"],
    ),
]


@pytest.mark.parametrize(("old", "new", "changes"), BREAKING)
def test_what_breaks_jobs_is_refused_with_the_paths_that_differ(
    old: StoredDefinition, new: StoredDefinition, changes: list[str]
) -> None:
    with pytest.raises(PipelineChangedError) as refused:
        next_step(KEY, row(old), new, may_replace=False, is_start=True)

    assert refused.value.changes == changes
    assert str(refused.value) == (
        "pipeline 'counting' version 3 differs from the registered one in what its jobs depend on; raise its"
        f" version: {changes[0]}"
    )


def test_a_long_list_of_changes_is_cut() -> None:
    error = PipelineChangedError("counting", 3, [f"$.{letter}: differs" for letter in "abcdefg"])

    assert str(error).endswith("$.d: differs; $.e: differs; and 2 more")


def test_local_mode_replaces_whatever_was_registered() -> None:
    changed = definition(counted)

    assert next_step(KEY, row(OWN), changed, may_replace=True, is_start=True) == "replace"


def test_an_older_definition_is_served_and_not_registered_again() -> None:
    newer = definition(first, params=WiderParams)
    registered = row(newer, superseded=[OWN.digest])

    assert next_step(KEY, registered, OWN, may_replace=False, is_start=True) == "keep"


def test_an_older_definition_is_registered_again_when_nobody_confirms_the_newer_one() -> None:
    newer = definition(first, description="counts lines")
    abandoned = row(newer, superseded=[OWN.digest], is_confirmed=False)

    for is_start in (True, False):
        assert next_step(KEY, abandoned, OWN, may_replace=False, is_start=is_start) == "replace"


def test_an_older_definition_with_narrower_parameters_never_replaces_the_newer_one() -> None:
    newer = definition(first, params=WiderParams)
    abandoned = row(newer, superseded=[OWN.digest], is_confirmed=False)

    assert next_step(KEY, abandoned, OWN, may_replace=False, is_start=True) == "keep"


@pytest.mark.parametrize("may_replace", [True, False])
def test_a_running_worker_does_not_replace_what_another_one_confirms(may_replace: bool) -> None:
    newer = definition(first, description="counts lines")

    assert next_step(KEY, row(newer), OWN, may_replace=may_replace, is_start=False) == "keep"


def test_a_removed_version_without_jobs_may_come_back_in_any_form() -> None:
    removed = row(definition(counted), is_bound=False, is_confirmed=False)

    assert next_step(KEY, removed, OWN, may_replace=False, is_start=True) == "replace"


def test_types_that_an_older_release_did_not_store_are_not_compared() -> None:
    old = msgspec.structs.replace(OWN, types=None)
    other_result = msgspec.structs.replace(definition(counted), types=None)

    assert breaking_changes(old, OWN) == []
    assert old.digest == OWN.digest
    assert next_step(KEY, row(old), OWN, may_replace=False, is_start=True) == "replace"
    assert breaking_changes(old, other_result) == ["$.result: was integer, is Counted with fields"]


def test_the_order_of_steps_and_of_after_means_nothing() -> None:
    def graph(reverse: Callable[[list[Any]], list[Any]]) -> StoredDefinition:
        pipeline = Pipeline("joined", params=Params)
        handles = [pipeline.add(first, name=name, after=()) for name in reverse(["left", "right"])]
        pipeline.add(first, name="both", after=handles)
        return StoredDefinition.of(pipeline)

    there, back = graph(list), graph(lambda names: names[::-1])

    assert there != back
    assert breaking_changes(there, back) == []


class Dated(Struct):
    at: datetime


def test_a_version_whose_schema_an_earlier_release_wrote_without_formats_is_the_same() -> None:
    pipeline = Pipeline("dated", params=Dated)
    plain = msgspec.json.schema(Dated)
    own = StoredDefinition.of(pipeline)
    registered = msgspec.structs.replace(own, params_schema=plain)

    assert own.params_schema != plain
    assert breaking_changes(registered, own, plain_params_schema=plain) == []
    assert breaking_changes(registered, own) != []
