"""Runs single tries of an attempt's steps, each with a slot, a scratch folder and the right executor."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.pipelines.definition import Node, Pipeline
from headrace.domain.pipelines.loading import import_path
from headrace.workers.attempt.contexts import StepIdentity
from headrace.workers.attempt.executors import StepExecutor, StepStoppedError, build_executor, run_step
from headrace.workers.attempt.plan import StepPlan
from headrace.workers.attempt.process_executor import ProcessExecutor
from headrace.workers.attempt.step_host import StepHost
from headrace.workers.attempt.waiting import StopSignal, wait_first, wait_for_end
from headrace.workers.attribution import attributed
from headrace.workers.child.protocol import RunStep
from headrace.workers.containment import call_in_thread
from headrace.workers.crash_record import Entry
from headrace.workers.job_threads import call_own
from headrace.workers.outputs import compute_items
from headrace.workers.resources import WorkerResources
from headrace.workers.slots import AttemptSlots
from headrace.workers.values import OutputError

_ITEMS_TIMEOUT_SECONDS: Final = 60.0
_REMOVE_SECONDS: Final = 60.0


class Scratch:
    """The scratch folder of one try, created when *path* is first read."""

    def __init__(self, root: Path, label: str) -> None:
        self._root = root
        self._label = label
        self._path: Path | None = None

    @property
    def path(self) -> Path:
        if self._path is None:
            self._path = Path(tempfile.mkdtemp(prefix=f"{self._label}-", dir=self._root))
        return self._path

    async def remove(self, stop: StopSignal) -> None:
        """Remove the folder. This waits for a minute at most, and not beyond the deadline of *stop*."""
        if self._path is not None:
            removal = call_own(partial(shutil.rmtree, self._path, ignore_errors=True))
            await wait_for_end(removal, stop, _REMOVE_SECONDS)


class StepRunner:
    """Calls the author's code of one attempt: the steps, and the functions that compute items."""

    def __init__(
        self,
        resources: WorkerResources,
        claim: Claim,
        host: StepHost,
        params: Any,
        stop: StopSignal,
        process_slots: AttemptSlots,
        entry: Entry,
    ) -> None:
        """*entry* records when the worker itself reads an author's value, such as an error."""
        self._resources = resources
        self._claim = claim
        self._pipeline: Pipeline = resources.pipelines[(claim.pipeline, claim.version)]
        self._host = host
        self._params = params
        self._stop = stop
        self._process_slots = process_slots
        self.entry = entry
        self._thread_slots = AttemptSlots(resources.thread_slots, claimed=1)

    async def items(self, node: Node) -> list[str] | None:
        """Compute the items of *node* and return each as JSON; None if the attempt stops meanwhile.

        Raises:
            OutputError: they cannot be stored, or took longer than 60 s.
            Exception: any exception that the author's function raised.
        """
        crash_record = self._resources.crash_record
        entry = crash_record.enter(self._claim.lease)
        future: asyncio.Future[Any] = call_in_thread(
            f"headrace-{node.name}-items",
            attributed(compute_items),
            *(node, self._params, self._resources.max_items_bytes),
        )
        entry.suspend()
        await wait_first(future, stop=self._stop, seconds=_ITEMS_TIMEOUT_SECONDS)
        if future.done():
            crash_record.leave(entry)
        else:
            self._resources.abandon(future)
            future.add_done_callback(lambda _: crash_record.leave(entry))
            if self._stop.is_set:
                return None
            raise OutputError(
                "items_timeout", f"the items were not there within {_ITEMS_TIMEOUT_SECONDS:g} s"
            )
        items: list[str] = future.result()
        return items

    async def run(self, run: StepPlan, enter: Callable[[StepPlan], Awaitable[None]]) -> str:
        """Run one try and return its output as JSON. *enter* is called when the try has got its slot.

        Raises:
            StepStoppedError: it was stopped or timed out.
            Exception: any exception that the step raised.
        """
        slots = await self._acquire_slot(run)
        scratch = Scratch(self._resources.scratch, self._claim.pipeline)
        abandoned: asyncio.Future[Any] | None = None
        try:
            if run.node.step.runs_in == "process":
                self._resources.fork_server.require_running()  # it may have ended while the step waited
            await enter(run)
            tracing = self._resources.tracing
            if tracing is None:
                return await self._execute(run, scratch)
            with tracing.step(self._claim, run.key, run.node.step.runs_in):
                return await self._execute(run, scratch)
        except StepStoppedError as error:
            abandoned = error.abandoned
            raise
        finally:
            if abandoned is not None:
                self._resources.abandon(abandoned)
            if slots is not None and abandoned is not None:
                abandoned.add_done_callback(lambda _: slots.release())
            elif slots is not None:
                slots.release()
            await scratch.remove(self._stop)

    async def _execute(self, run: StepPlan, scratch: Scratch) -> str:
        find_trouble = partial(self._host.waits.trouble_of, run.key)
        if run.node.step.runs_in == "process":
            executor = self._build_process_executor(run, scratch)
            try:
                return await run_step(executor, run.node, self._stop, find_trouble)
            finally:
                await executor.finish(self._stop)
        crash_record = self._resources.crash_record
        entry = crash_record.enter(self._claim.lease)
        entry.suspend()  # the task or the thread of the step records when it runs the author's code
        abandoned: asyncio.Future[Any] | None = None
        try:
            in_worker = self._build_executor(run, scratch)
            return await run_step(in_worker, run.node, self._stop, find_trouble)
        except StepStoppedError as error:
            abandoned = error.abandoned
            raise
        finally:
            if abandoned is None:
                crash_record.leave(entry)
            else:
                abandoned.add_done_callback(lambda _: crash_record.leave(entry))

    def pause_seconds(self, delay: timedelta) -> float:
        """Return how long a step waits for another try that is due after *delay*."""
        return 0.0 if self._resources.retries_at_once else delay.total_seconds()

    def release_unused_slot(self) -> None:
        """Give up the process slot that the attempt keeps, because its next step needs none."""
        self._process_slots.release_unused()

    async def _acquire_slot(self, run: StepPlan) -> AttemptSlots | None:
        """Wait for the slot of a try, and return what it is to be given back to. Coroutines need no slot."""
        match run.node.step.runs_in:
            case "loop":
                return None
            case "thread":
                await self._thread_slots.acquire()
                return self._thread_slots
            case "process":
                run.waits_since = time.monotonic()
                # The step's time does not run while its modules are loaded for the first time.
                await self._resources.fork_server.load()
                await self._process_slots.acquire()
                return self._process_slots

    def _build_process_executor(self, run: StepPlan, scratch: Scratch) -> ProcessExecutor:
        node, claim = run.node, self._claim
        message = RunStep(
            source=self._resources.sources[(claim.pipeline, claim.version)],
            pipeline=claim.pipeline,
            version=claim.version,
            step=node.name,
            params=claim.params,
            item=run.item,
            job_id=claim.job_id,
            attempt=claim.attempt,
            scratch=str(scratch.path),
            max_output_bytes=self._resources.max_output_bytes,
            import_path=import_path(),
            key=run.key,
            log_level=self._resources.log_level,
            step_log_level=self._resources.step_log_level,
            logs_json=self._resources.logs_json,
            secrets=self._resources.secrets,
            request_id=claim.request_id,
            traceparent=tracing.current_traceparent() if (tracing := self._resources.tracing) else None,
        )
        return ProcessExecutor(
            message,
            node.name,
            run.key,
            self._host,
            fork_server=self._resources.fork_server,
            exit_seconds=node.step.grace.total_seconds(),
        )

    def _build_executor(self, run: StepPlan, scratch: Scratch) -> StepExecutor:
        node, claim = run.node, self._claim
        identity = StepIdentity(
            job_id=claim.job_id,
            attempt=claim.attempt,
            name=node.name,
            key=run.key,
            params=self._params,
            scratch=scratch,
        )
        return build_executor(
            node,
            self._pipeline,
            identity,
            self._host,
            run.item,
            self._resources.max_output_bytes,
            step_log_level=self._resources.step_log_level,
        )
