"""Runs the tries of one attempt's steps where they belong, each with a slot and a scratch folder."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.pipelines.definition import Node, Pipeline
from headrace.workers.attempt.containment import call_in_thread, contained
from headrace.workers.attempt.contexts import StepIdentity
from headrace.workers.attempt.executors import StepExecutor, StepStoppedError, here, run_step
from headrace.workers.attempt.plan import StepPlan, compute_items
from headrace.workers.attempt.process_executor import ProcessExecutor
from headrace.workers.attempt.step_host import StepHost
from headrace.workers.attempt.values import OutputError, encode_value
from headrace.workers.attempt.waiting import StopSignal, first_of
from headrace.workers.child import protocol as wire
from headrace.workers.resources import WorkerResources

_ITEMS_SECONDS: Final = 60.0


class Scratch:
    """A folder for one try, made when it is first asked for."""

    def __init__(self, root: Path, label: str) -> None:
        self._root = root
        self._label = label
        self._path: Path | None = None

    @property
    def path(self) -> Path:
        if self._path is None:
            self._path = Path(tempfile.mkdtemp(prefix=f"{self._label}-", dir=self._root))
        return self._path

    async def remove(self) -> None:
        if self._path is not None:
            await asyncio.to_thread(shutil.rmtree, self._path, ignore_errors=True)


class StepRunner:
    """One attempt's hands."""

    def __init__(
        self, tools: WorkerResources, claim: Claim, desk: StepHost, params: Any, stop: StopSignal
    ) -> None:
        self._tools = tools
        self._claim = claim
        self._pipeline: Pipeline = tools.pipelines[(claim.pipeline, claim.version)]
        self._desk = desk
        self._params = params
        self._stop = stop

    async def items(self, node: Node) -> str | None:
        """Ask the author for the items of *node*: a JSON array; None when the attempt is to stop meanwhile.

        Raises:
            OutputError: they cannot be stored, or are not there in time.
            Exception: whatever the author's function raised.
        """
        asked: asyncio.Future[Any] = call_in_thread(
            f"headrace-{node.name}-items", compute_items, node, self._params
        )
        await first_of(asked, stop=self._stop, seconds=_ITEMS_SECONDS)
        if not asked.done():
            self._tools.abandoned += 1
            asked.cancel()
            if self._stop.is_set:
                return None
            raise OutputError("items_timeout", f"the items were not there within {_ITEMS_SECONDS:g} s")
        what = f"the items of step {node.name!r}"
        return encode_value(asked.result(), what, self._tools.max_output_bytes * 4)

    async def run(self, run: StepPlan, begin: Callable[[], None]) -> str:
        """Run one try and return the output as JSON; *begin* is called once it has its slot.

        Raises:
            StepStoppedError: it was stopped from outside, or is out of time.
            Exception: whatever the step raised.
        """
        # Steps in the loop need no slot.
        slots = {"process": self._tools.process_slots, "thread": self._tools.thread_slots}.get(
            run.node.step.runs_in
        )
        if slots is not None:
            await slots.acquire()
        scratch = Scratch(self._tools.scratch, self._claim.pipeline)
        is_abandoned = False
        try:
            begin()
            return await run_step(self._running(run, scratch), run.node, self._stop)
        except StepStoppedError as error:
            is_abandoned = error.abandoned
            raise
        finally:
            if is_abandoned:
                self._tools.abandoned += 1
            elif slots is not None:
                slots.release()
            await scratch.remove()

    def _running(self, run: StepPlan, scratch: "Scratch") -> StepExecutor:
        node, claim = run.node, self._claim
        if node.step.runs_in == "process":
            order = wire.RunStep(
                source=self._tools.sources[(claim.pipeline, claim.version)],
                pipeline=claim.pipeline,
                version=claim.version,
                step=node.name,
                params=claim.params,
                item=run.item,
                job_id=claim.job_id,
                attempt=claim.attempt,
                scratch=str(scratch.path),
                max_output_bytes=self._tools.max_output_bytes,
            )
            return ProcessExecutor(order, node.name, run.key, self._desk)
        situation = StepIdentity(
            job_id=claim.job_id,
            attempt=claim.attempt,
            name=node.name,
            key=run.key,
            params=self._params,
            scratch=scratch,
        )
        with contained:
            items = () if run.item is None else (node.decode_item(run.item),)
        return here(node, self._pipeline, situation, self._desk, items, self._tools.max_output_bytes)
