"""The order in which the step runs of a graph start, and when all are done."""

from headrace.domain.jobs.states import StepState
from headrace.workers.attempt.plan import Plan
from support.worker_builders import keys, new_pipeline, start_all, start_next, start_next_key, succeed

DIAMOND = {"top": (), "left": ("top",), "right": ("top",), "bottom": ("left", "right")}


def new_plan(graph: dict[str, tuple[str, ...]]) -> Plan:
    return Plan(new_pipeline(graph), {}, 0.0)


def test_steps_without_predecessors_start_in_the_order_of_the_graph() -> None:
    plan = new_plan({"c": (), "a": (), "b": ()})

    assert keys(start_all(plan)) == ["c", "a", "b"]


def test_a_step_of_a_chain_starts_when_its_predecessor_succeeded() -> None:
    plan = new_plan({"first": (), "second": ("first",)})
    first = start_next(plan)

    before = start_next_key(plan)
    succeed(plan, first)

    assert before is None
    assert start_next_key(plan) == "second"


def test_branches_start_in_parallel() -> None:
    plan = new_plan(DIAMOND)

    succeed(plan, start_next(plan))

    assert keys(start_all(plan)) == ["left", "right"]


def test_a_step_starts_only_when_all_its_predecessors_succeeded() -> None:
    plan = new_plan(DIAMOND)
    succeed(plan, start_next(plan))
    left, right = start_all(plan)

    succeed(plan, right)
    after_one = start_next_key(plan)
    succeed(plan, left)

    assert after_one is None
    assert start_next_key(plan) == "bottom"


def test_a_step_run_is_started_once() -> None:
    plan = new_plan({"only": ()})

    run = start_next(plan)

    assert run.state is StepState.RUNNING
    assert start_next_key(plan) is None


def test_the_run_of_a_step_without_items_has_the_name_of_the_step_and_no_index() -> None:
    (run,) = new_plan({"only": ()}).runs()

    assert (run.key, run.index, run.item) == ("only", None, None)


def test_a_plan_is_done_when_its_last_step_succeeded() -> None:
    plan = new_plan({"first": (), "second": ("first",)})
    done = [plan.is_done]

    for _ in range(2):
        succeed(plan, start_next(plan))
        done.append(plan.is_done)

    assert done == [False, False, True]


def test_a_pipeline_without_steps_is_done() -> None:
    assert new_plan({}).is_done


def test_a_successful_step_run_is_marked_as_succeeded() -> None:
    plan = new_plan({"only": ()})
    run = start_next(plan)

    succeed(plan, run)

    assert run.state is StepState.SUCCEEDED


def test_the_last_step_run_is_known_while_it_runs() -> None:
    plan = new_plan(DIAMOND)
    seen = []
    while not plan.is_done:
        runs = start_all(plan)
        for run in runs:
            seen.append((run.key, plan.is_last(run)))
            succeed(plan, run)

    assert seen == [("top", False), ("left", False), ("right", False), ("bottom", True)]


def test_one_of_two_branches_is_the_last_only_when_the_other_is_done() -> None:
    plan = new_plan({"a": (), "b": ()})
    a, b = start_all(plan)
    before = plan.is_last(b)

    succeed(plan, a)

    assert (before, plan.is_last(b)) == (False, True)


def test_the_output_of_a_step_is_that_of_its_run() -> None:
    plan = new_plan({"only": ()})
    group = plan.groups["only"]

    succeed(plan, start_next(plan), '{"a":1}')

    assert plan.output_of(group) == '{"a":1}'


def test_the_output_of_a_run_without_one_is_null() -> None:
    plan = new_plan({"only": ()})

    plan.succeed(start_next(plan))

    assert plan.output_of(plan.groups["only"]) == "null"


def test_all_step_runs_are_listed_in_the_order_of_the_graph() -> None:
    plan = new_plan(DIAMOND)

    assert keys(plan.runs()) == ["top", "left", "right", "bottom"]


def test_a_plan_needs_a_process_if_all_its_next_steps_do_also_before_their_items_are_computed() -> None:
    graph = {"many": (), "after": ("many",)}
    in_processes = Plan(new_pipeline(graph, for_each={"many"}, runs_in="process"), {}, 0.0)
    in_threads = Plan(new_pipeline(graph, for_each={"many"}, runs_in="thread"), {}, 0.0)
    before = (in_processes.needs_process(0.0), in_threads.needs_process(0.0))

    in_processes.expand(in_processes.to_expand.popleft(), ["1", "2"])
    start_next(in_processes)

    assert (before, in_processes.needs_process(0.0)) == ((True, False), True)
