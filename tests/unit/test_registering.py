"""What a worker does with a pipeline version that is registered already."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest
from msgspec import Meta, Struct, defstruct

from headrace import Pipeline, StepContext, step
from headrace.domain.pipelines.registration import PipelineChangedError, Registered, next_step
from headrace.domain.pipelines.stored_definition import (
    StoredDefinition,
    breaking_changes,
    earlier_definitions,
)

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


class Range(Struct, array_like=True):
    low: int
    high: int


class TurnedRange(Struct, array_like=True):
    high: int
    low: int


def passing(shape: Any, *, params: Any = Params) -> Pipeline:
    """Return a pipeline whose items and outputs are of this type."""

    async def mix(context: Any, item: Any) -> Any: ...

    mix.__annotations__.update({"item": shape, "return": shape})
    pipeline = Pipeline("passing", params=params)
    pipeline.add(step(mix), for_each=lambda _: [], result=True)
    return pipeline


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (dict[int, str], dict[str, str], "{key}: was integer, is string"),
        (dict[date, str], dict[UUID, str], "{key}: was date, is uuid"),
        (str, datetime, ": was string, is date-time"),
        (str, time, ": was string, is time"),
        (list[int], tuple[int, ...], ": was list, is tuple"),
        (Range, TurnedRange, ': the order of fields was ["low","high"], is ["high","low"]'),
    ],
)
def test_outputs_and_items_that_are_decoded_differently_need_a_new_version(
    old: Any, new: Any, reason: str
) -> None:
    stored = StoredDefinition.of(passing(old))
    changed = passing(new)
    earlier = earlier_definitions(changed)

    for one, other in ((old, new), (new, old)):
        changes = breaking_changes(StoredDefinition.of(passing(one)), StoredDefinition.of(passing(other)))
        assert [change.partition(":")[0].removesuffix("{key}") for change in changes] == [
            "$.steps.mix.item",
            "$.steps.mix.output",
        ]
    assert breaking_changes(stored, StoredDefinition.of(changed), earlier=earlier) == [
        f"$.steps.mix.item{reason}",
        f"$.steps.mix.output{reason}",
    ]


def test_a_wider_output_needs_a_new_version() -> None:
    old, new = passing(list[dict[str, int]]), passing(list[dict[str, int | None]])

    assert breaking_changes(StoredDefinition.of(old), StoredDefinition.of(new)) == [
        "$.steps.mix.item[]{}: accepts more than before",
        "$.steps.mix.output[]{}: accepts more than before",
    ]


@pytest.mark.parametrize("shape", [Dated, Range, dict[int, tuple[datetime, ...]], Any, None])
@pytest.mark.parametrize("has_types", [True, False])
def test_a_version_that_an_earlier_release_described_with_less_details_is_the_same(
    shape: Any, has_types: bool
) -> None:
    pipeline = passing(shape, params=defstruct("Order", [("range", Range), ("at", Dated)]))
    own = StoredDefinition.of(pipeline)

    earliest = [earlier for earlier in earlier_definitions(pipeline) if earlier.details is None]
    assert len(earliest) == 2
    for earlier in earliest:
        registered = earlier if has_types else msgspec.structs.replace(earlier, types=None)
        assert own != registered
        assert breaking_changes(registered, own, earlier=earlier_definitions(pipeline)) == []
        assert (
            next_step(
                KEY,
                row(registered),
                own,
                may_replace=False,
                is_start=True,
                earlier=earlier_definitions(pipeline),
            )
            == "replace"
        )
        assert breaking_changes(registered, own) != []


LIMITED = Annotated[list[Annotated[int, Meta(ge=1)]], Meta(max_length=3)]


def test_the_limits_of_an_output_count_unless_an_earlier_release_has_registered_the_version() -> None:
    limited, unlimited = passing(LIMITED), passing(list[int])

    for earlier in earlier_definitions(limited):
        assert (
            breaking_changes(earlier, StoredDefinition.of(limited), earlier=earlier_definitions(limited))
            == []
        )
    for old, new in ((limited, unlimited), (unlimited, limited)):
        changes = breaking_changes(
            StoredDefinition.of(old), StoredDefinition.of(new), earlier=earlier_definitions(new)
        )
        assert {change.partition(":")[0] for change in changes} == {
            *("$.steps.mix.item", "$.steps.mix.item[]", "$.steps.mix.output", "$.steps.mix.output[]")
        }


def test_details_of_another_type_count_after_an_earlier_release_has_registered_the_version() -> None:
    *_, registered = earlier_definitions(passing(str))
    changed = passing(datetime)

    assert breaking_changes(
        registered, StoredDefinition.of(changed), earlier=earlier_definitions(changed)
    ) == ["$.steps.mix.item: was string, is date-time", "$.steps.mix.output: was string, is date-time"]


class PlainMoment(Struct):
    at: datetime


class DescribedMoment(Struct):
    """When it was."""

    at: datetime


class OtherMoment(Struct):
    at: int


def test_a_description_may_change_after_an_earlier_release_has_registered_the_version() -> None:
    registered = next(earlier_definitions(passing(PlainMoment)))
    described, other = passing(DescribedMoment), passing(OtherMoment)

    assert (
        breaking_changes(registered, StoredDefinition.of(described), earlier=earlier_definitions(described))
        == []
    )
    assert breaking_changes(registered, StoredDefinition.of(other), earlier=earlier_definitions(other)) == [
        "$.steps.mix.item.at: was string, is integer",
        "$.steps.mix.output.at: was string, is integer",
    ]
