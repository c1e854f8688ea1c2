"""The bytes of a job's outputs and of its result, as they are stored."""

import dataclasses

import pytest

from headrace.workers.outputs import OutputLimits, OutputSizes
from headrace.workers.values import OutputError
from support.worker_builders import new_node

ITEMS = ["12", '"é"', "[3]"]


@pytest.mark.parametrize("spare", [0, -1])
def test_the_result_of_many_items_counts_as_the_list_that_is_stored(spare: int) -> None:
    node = dataclasses.replace(new_node("many", for_each=lambda _params: []), is_result=True)
    stored = f"[{','.join(ITEMS)}]"
    sizes = OutputSizes(OutputLimits(job=1_000, result=len(stored.encode()) + spare))
    sizes.add(node, ITEMS[0])
    sizes.check(node, "many[1]", ITEMS[1])

    if spare == 0:
        sizes.check(node, "many[2]", ITEMS[2])
    else:
        with pytest.raises(OutputError, match=f"this one has {len(stored.encode())} with that of step"):
            sizes.check(node, "many[2]", ITEMS[2])


def test_a_single_result_counts_as_it_is() -> None:
    node = dataclasses.replace(new_node("one"), is_result=True)

    OutputSizes(OutputLimits(job=3, result=3)).check(node, "one", "[1]")
    with pytest.raises(OutputError, match="this one has 4 "):
        OutputSizes(OutputLimits(job=9, result=3)).check(node, "one", "[12]")
