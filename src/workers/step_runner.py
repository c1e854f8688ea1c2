"""Runs the tries of one attempt's steps where they belong, each with a slot and a scratch folder."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec

from domain.jobs.execution import Claim
from domain.pipelines.definition import Node, Pipeline
from workers import wire
from workers.child_process import ProcessTry
from workers.containing import call_in_thread, contained
from workers.contexts import Situation
from workers.desk import Desk
from workers.outputs import OutputError, encode_value
from workers.plan import StepPlan, compute_items
from workers.toolbox import Toolbox
from workers.tries import Running, StepStoppedError, here, run_try

_ITEMS_SECONDS: Final = 60.0


class StepRunner:
    """One attempt's hands."""

    def __init__(self, tools: Toolbox, claim: Claim, desk: Desk, params: Any, stop: asyncio.Event) -> None:
        self._tools = tools
        self._claim = claim
        self._pipeline: Pipeline = tools.pipelines[(claim.pipeline, claim.version)]
        self._desk = desk
        self._params = params
        self._stop = stop

    @contextlib.asynccontextmanager
    async def slot(self, node: Node) -> AsyncIterator[None]:
        """Hold a slot for a child process or a thread; steps in the loop need none."""
        slots = {"process": self._tools.process_slots, "thread": self._tools.thread_slots}.get(
            node.step.runs_in
        )
        if slots is not None:
            await slots.acquire()
        keep = False
        try:
            yield
        except StepStoppedError as error:
            keep = error.abandoned
            raise
        finally:
            if keep:
                self._tools.abandoned += 1
            elif slots is not None:
                slots.release()

    async def items(self, node: Node) -> str | None:
        """Ask the author for the items of *node*: a JSON array; None when the attempt is to stop meanwhile.

        Raises:
            OutputError: they cannot be stored, or are not there in time.
            Exception: whatever the author's function raised.
        """
        asked: asyncio.Future[Any] = call_in_thread(
            f"headrace-{node.name}-items", compute_items, node, self._params
        )
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({asked, stopped}, timeout=_ITEMS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if not asked.done():
            self._tools.abandoned += 1
            asked.cancel()
            if self._stop.is_set():
                return None
            raise OutputError("items_timeout", f"the items were not there within {_ITEMS_SECONDS:g} s")
        what = f"the items of step {node.name!r}"
        return encode_value(asked.result(), what, self._tools.max_output_bytes * 4)

    async def run(self, run: StepPlan) -> str:
        """Run one try and return the output as JSON.

        Raises:
            StepStoppedError: it was stopped from outside, or is out of time.
            Exception: whatever the step raised.
        """
        scratch = Path(tempfile.mkdtemp(prefix=f"{self._claim.pipeline}-", dir=self._tools.scratch))
        try:
            return await run_try(self._running(run, scratch), run.node, self._stop)
        finally:
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)

    def _running(self, run: StepPlan, scratch: Path) -> Running:
        node, claim = run.node, self._claim
        if node.step.runs_in == "process":
            order = wire.Order(
                source=self._tools.sources[(claim.pipeline, claim.version)],
                pipeline=claim.pipeline,
                version=claim.version,
                step=node.name,
                params=claim.params,
                item=run.item,
                job_id=claim.job_id,
                attempt=claim.attempt,
                scratch=str(scratch),
                max_output_bytes=self._tools.max_output_bytes,
            )
            return ProcessTry(order, node.name, run.key, self._desk)
        situation = Situation(
            job_id=claim.job_id,
            attempt=claim.attempt,
            name=node.name,
            key=run.key,
            params=self._params,
            scratch=scratch,
        )
        with contained():
            items = () if run.item is None else (msgspec.json.decode(run.item, type=node.item_type),)
        return here(node, self._pipeline, situation, self._desk, items, self._tools.max_output_bytes)
