"""The lease model under interleavings of two workers, a sweep and a user's requests."""

from typing import Final, NamedTuple

import pytest

from headrace.domain.jobs.claim_rules import MAX_LOSSES
from support.lease_model import ALL_RULES, ModelJob, Rules
from support.lease_statespace import World, steps, violation

STARTS: Final = (
    World(ModelJob()),
    World(ModelJob(attempt=4, fence=4, losses=MAX_LOSSES - 1, lost_in_a_row=4)),
)
ENOUGH: Final = 400_000


class Explored(NamedTuple):
    """*interleavings*: the number of distinct sequences of actions that were played."""

    interleavings: int
    depth: int
    broken: str | None = None
    path: tuple[str, ...] = ()


def explore(start: World, rules: Rules, max_sequences: int) -> Explored:
    """Play each next action after the shortest path to every world, up to *max_sequences* sequences.

    A world is expanded only once, because its successors depend on nothing else.
    """
    paths: dict[World, tuple[str, ...]] = {start: ()}
    played = 0
    frontier = [start]
    while frontier and played < max_sequences:
        reached: list[World] = []
        for world in frontier:
            if played >= max_sequences:
                break
            path = paths[world]
            for step in steps(world, rules):
                played += 1
                if (broken := violation(world, step)) is not None:
                    return Explored(played, len(path) + 1, broken, (*path, step.action))
                if step.world not in paths:
                    paths[step.world] = (*path, step.action)
                    reached.append(step.world)
        frontier = reached
    return Explored(played, max(map(len, paths.values())))


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS, ids=["a new job", "a job lost four times"])
def test_no_interleaving_breaks_a_rule(start: World) -> None:
    explored = explore(start, ALL_RULES, ENOUGH)

    assert explored.broken is None, explored
    assert explored.interleavings >= ENOUGH
    assert explored.depth >= 8


@pytest.mark.parametrize(
    ("rules", "broken"),
    [
        (Rules(fence=False), "somebody wrote who does not hold the lease"),
        (Rules(write_no=False), "a change was written twice"),
        (Rules(overruling=False), "a cancel was forgotten"),
    ],
)
def test_each_rule_of_a_write_is_needed(rules: Rules, broken: str) -> None:
    explored = explore(STARTS[0], rules, ENOUGH)

    assert explored.broken == broken
