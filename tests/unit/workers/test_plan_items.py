"""Steps that run once for each item: their items, their runs, and what comes after them."""

import dataclasses
from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec
import pytest

from headrace.domain.jobs.attempts.stored_items import split_items
from headrace.domain.jobs.states import StepState
from headrace.domain.json_limits import MAX_JSON_DEPTH, is_nested_deeper
from headrace.workers.attempt.plan import Plan, item_runs
from headrace.workers.outputs import MAX_ITEMS, compute_items
from headrace.workers.values import OutputError
from support.worker_builders import Params, items_of, keys, new_node, new_pipeline, start_all, succeed

LIMIT = 100_000


def new_plan(graph: dict[str, tuple[str, ...]], *for_each: str) -> Plan:
    return Plan(new_pipeline(graph, for_each=for_each), {}, 0.0)


def to_expand(plan: Plan) -> list[str]:
    return [group.node.name for group in plan.to_expand]


def expand_next(plan: Plan, items: str) -> None:
    plan.expand(plan.to_expand.popleft(), split_items(items))


def test_items_are_requested_when_their_step_can_start() -> None:
    plan = new_plan({"first": (), "many": ("first",)}, "many")
    before = to_expand(plan)

    for run in start_all(plan):
        succeed(plan, run)

    assert (before, to_expand(plan)) == ([], ["many"])


def test_no_run_of_a_step_starts_before_its_items_are_known() -> None:
    plan = new_plan({"many": ()}, "many")

    assert start_all(plan) == []
    assert list(plan.runs()) == []


def test_each_item_has_a_run_of_its_own_in_item_order() -> None:
    plan = new_plan({"many": ()}, "many")

    expand_next(plan, '["a","b","c"]')

    runs = start_all(plan)
    assert [(run.key, run.index, run.item) for run in runs] == [
        ("many[0]", 0, '"a"'),
        ("many[1]", 1, '"b"'),
        ("many[2]", 2, '"c"'),
    ]


def test_the_step_after_the_items_starts_when_all_of_them_succeeded() -> None:
    plan = new_plan({"many": (), "after": ("many",)}, "many")
    expand_next(plan, "[1,2,3]")
    first, second, third = start_all(plan)

    succeed(plan, second)
    succeed(plan, first)
    before = start_all(plan)
    succeed(plan, third)

    assert before == []
    assert keys(start_all(plan)) == ["after"]


def test_a_step_without_items_is_done_and_the_step_after_it_starts() -> None:
    plan = new_plan({"many": (), "after": ("many",)}, "many")

    expand_next(plan, "[]")

    assert keys(start_all(plan)) == ["after"]


def test_a_plan_is_done_when_its_only_step_has_no_items() -> None:
    plan = new_plan({"many": ()}, "many")
    before = plan.is_done

    expand_next(plan, "[]")

    assert (before, plan.is_done) == (False, True)


def test_a_step_without_items_lets_the_next_step_request_its_items() -> None:
    plan = new_plan({"none": (), "some": ("none",)}, "none", "some")

    expand_next(plan, "[]")

    assert to_expand(plan) == ["some"]


def test_items_of_parallel_branches_are_requested_in_the_order_of_the_graph() -> None:
    plan = new_plan({"b": (), "a": (), "plain": ()}, "a", "b")

    assert to_expand(plan) == ["b", "a"]
    assert keys(start_all(plan)) == ["plain"]


def test_a_postponed_item_delays_only_the_step_after_it() -> None:
    plan = new_plan({"many": (), "after": ("many",)}, "many")
    expand_next(plan, "[1,2]")
    first, second = start_all(plan)

    plan.retry_at(first, 5.0)
    succeed(plan, second)

    assert start_all(plan, 4.0) == []
    assert keys(start_all(plan, 5.0)) == ["many[0]"]


def test_the_last_item_of_the_last_step_is_the_last_run() -> None:
    plan = new_plan({"many": ()}, "many")
    expand_next(plan, "[1,2]")
    first, second = start_all(plan)
    before = plan.is_last(first)

    succeed(plan, second)

    assert (before, plan.is_last(first)) == (False, True)


def test_the_last_item_of_a_step_with_a_follower_is_not_the_last_run() -> None:
    plan = new_plan({"many": (), "after": ("many",)}, "many")
    expand_next(plan, "[1]")
    (run,) = start_all(plan)

    assert not plan.is_last(run)


def test_the_output_of_items_is_in_item_order_even_if_they_end_in_another_order() -> None:
    plan = new_plan({"many": ()}, "many")
    group = plan.to_expand[0]
    expand_next(plan, "[1,2,3]")

    for run in reversed(start_all(plan)):
        succeed(plan, run, f'"of {run.index}"')

    assert plan.output_of(group) == '["of 0","of 1","of 2"]'


def test_the_output_of_no_items_is_an_empty_list() -> None:
    plan = new_plan({"many": ()}, "many")
    group = plan.to_expand[0]

    expand_next(plan, "[]")

    assert plan.output_of(group) == "[]"


def test_the_output_of_one_item_is_a_list_too() -> None:
    plan = new_plan({"many": ()}, "many")
    group = plan.to_expand[0]
    expand_next(plan, "[1]")

    for run in start_all(plan):
        succeed(plan, run, "7")

    assert plan.output_of(group) == "[7]"


def test_a_run_of_an_item_begins_without_tries_and_output() -> None:
    (run,) = item_runs(new_node("many", for_each=items_of), ["1"])

    assert (run.state, run.tries, run.output, run.has_slot) == (StepState.PENDING, 0, None, False)


def test_items_are_computed_from_the_parameters_by_the_authors_function() -> None:
    node = new_node("many", for_each=lambda params: (item * 2 for item in params.items))

    assert compute_items(node, Params(items=[1, 2, 3]), LIMIT) == ["2", "4", "6"]


def test_a_step_without_for_each_has_no_items() -> None:
    assert compute_items(new_node("plain"), Params(items=[1]), LIMIT) == []


def test_a_step_may_have_the_maximum_number_of_items() -> None:
    node = new_node("many", for_each=lambda _: range(MAX_ITEMS))

    assert len(compute_items(node, Params(), LIMIT)) == MAX_ITEMS == 10_000


def test_one_item_too_many_is_refused() -> None:
    node = new_node("many", for_each=lambda _: range(MAX_ITEMS + 1))

    with pytest.raises(OutputError) as refused:
        compute_items(node, Params(), LIMIT)

    assert refused.value.code == "items_invalid"
    assert str(refused.value) == "step 'many' has more than 10000 items"


def test_an_endless_iterator_is_read_only_up_to_one_item_too_many() -> None:
    read: list[int] = []

    def endless(_: Any) -> Iterator[int]:
        for item in count():
            read.append(item)
            yield item

    with pytest.raises(OutputError):
        compute_items(new_node("many", for_each=endless), Params(), LIMIT)

    assert len(read) == MAX_ITEMS + 1


def test_an_error_of_the_authors_function_is_raised_unchanged() -> None:
    def broken(_: Any) -> list[Any]:
        raise ZeroDivisionError("of the author")

    with pytest.raises(ZeroDivisionError, match="of the author"):
        compute_items(new_node("many", for_each=broken), Params(), LIMIT)


def test_items_are_measured_as_they_are_made() -> None:
    made: list[int] = []

    def large(_: Any) -> Iterator[str]:
        for number in range(1_000):
            made.append(number)
            yield "x" * 1_000

    with pytest.raises(OutputError) as refused:
        compute_items(new_node("many", for_each=large), Params(), 10_000)

    assert refused.value.code == "items_too_large"
    assert str(refused.value) == (
        "the first 10 items of step 'many' have 10032 bytes as JSON, at most 10000 are stored;"
        " save files and let the items name them"
    )
    assert len(made) == 10


@pytest.mark.parametrize("levels", [63, 64])
def test_all_items_are_together_nested_at_most_as_deep_as_a_body(levels: int) -> None:
    item: Any = 1
    for _ in range(levels):
        item = [item]
    node = new_node("many", for_each=lambda _: [item])

    if levels == 63:
        array = f"[{','.join(compute_items(node, Params(), LIMIT))}]"
        assert not is_nested_deeper(array.encode(), MAX_JSON_DEPTH)
    else:
        with pytest.raises(OutputError, match="item 0 of step 'many' is nested deeper than 63 levels"):
            compute_items(node, Params(), LIMIT)


def test_an_item_that_is_not_what_its_annotation_says_is_refused_by_its_number() -> None:
    node = dataclasses.replace(
        new_node("many", for_each=lambda _: [1, 2, "three"]), decode_item=msgspec.json.Decoder(int).decode
    )

    with pytest.raises(OutputError) as refused:
        compute_items(node, Params(), LIMIT)

    assert refused.value.code == "items_invalid"
    assert str(refused.value) == (
        "item 2 of step 'many' is not what its annotation says: Expected `int`, got `str`"
    )
