"""The step runs of a job in the order of its graph. Pure."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from headrace.domain.jobs.models import Job, StepRun
from headrace.domain.jobs.states import StepState

_split: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def in_graph_order(job: Job, graph: Sequence[dict[str, Any]], stored: Sequence[StepRun]) -> list[StepRun]:
    """Return the *stored* step runs in the order of *graph*, with new `StepRun`s for steps that have no row.

    The rows of a `for_each` step are its items; one without items is shown by its own row.
    """
    runs_by_name: dict[str, list[StepRun]] = {}
    for run in stored:
        runs_by_name.setdefault(run.name, []).append(run)
    ordered: list[StepRun] = []
    for node in graph:
        name = node["name"]
        runs = runs_by_name.get(name, [])
        group = next((run for run in runs if run.items is not None), None)
        if group is None:
            ordered += runs or [_not_begun(job, name, None)]
        elif not (count := _count(group.items)):
            ordered.append(group)
        else:
            begun = {run.index: run for run in runs if run.index is not None}
            ordered += [begun.get(index) or _not_begun(job, name, index) for index in range(count)]
    return ordered


def _count(items: Any) -> int:
    """Return the number of *items*, which are a JSON array if they were read from the database."""
    return len(_split(items) if isinstance(items, msgspec.Raw) else items)


def _not_begun(job: Job, name: str, index: int | None) -> StepRun:
    state = StepState.CANCELLED if job.state.is_final else StepState.PENDING
    key = name if index is None else f"{name}[{index}]"
    return StepRun(job_id=job.id, key=key, name=name, index=index, state=state, attempt=0, tries=0)
