"""One attempt of one job: walk the step graph, write what happens, end the attempt."""

import asyncio
import contextlib
import time
from typing import Final

import structlog

from headrace.domain.database import TRANSIENT
from headrace.domain.events.types import JobError, LogWritten, write
from headrace.domain.jobs.attempts.changes import Change
from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.jobs.errors import LeaseLostError
from headrace.domain.jobs.progress import JobProgress
from headrace.domain.jobs.states import StepState
from headrace.domain.pipelines.context import JobCancelledError
from headrace.workers.attempt.changes import ChangeBuilder
from headrace.workers.attempt.containment import contained
from headrace.workers.attempt.executors import StepStoppedError
from headrace.workers.attempt.outcome import AttemptStatus, StopReason, conclude, unfinished_steps
from headrace.workers.attempt.plan import Group, Plan, StepPlan
from headrace.workers.attempt.process_executor import ChildError
from headrace.workers.attempt.progress_sender import ProgressSender
from headrace.workers.attempt.retry_decision import decide_retry
from headrace.workers.attempt.step_host import StepHost
from headrace.workers.attempt.step_runner import StepRunner
from headrace.workers.attempt.values import OutputError, job_error, said_by
from headrace.workers.attempt.waiting import first_of
from headrace.workers.resources import WorkerResources

_log = structlog.get_logger(__name__)

_MOST_AT_ONCE: Final = 64
_HOLD_SECONDS: Final = 1.0


class Attempt:
    """Runs the claimed job to its end, or to the end of this attempt."""

    def __init__(self, claim: Claim, tools: WorkerResources) -> None:
        self.claim = claim
        self._tools = tools
        self._pipeline = tools.pipelines[(claim.pipeline, claim.version)]
        self._plan = Plan(self._pipeline, claim.steps, time.monotonic())
        self._progress = JobProgress(self._pipeline.weights, floor=claim.progress)
        self._records = ChangeBuilder(claim)
        self._standing = AttemptStatus(claim.head)
        self.sender = ProgressSender(claim, self._progress, tools.publisher, self._standing)
        self._desk = StepHost(
            claim,
            self._records,
            commit=tools.commit,
            database=tools.database,
            blobs=tools.blobs,
            on_progress=self.sender.report,
            standing=self._standing,
        )
        self._failure: JobError | None = None
        self._running: dict[asyncio.Task[None], StepPlan] = {}
        # The success of the last step, kept so that it and the end of the job travel in one change.
        self._last: Change | None = None

    def stop(self, reason: StopReason) -> None:
        """End the attempt soon."""
        self._standing.end(reason)

    async def run(self) -> None:
        """Run, in a task of its own; returns when nothing is left but threads that were given up."""
        structlog.contextvars.bind_contextvars(
            job_id=str(self.claim.job_id), request_id=self.claim.request_id
        )
        left = self.claim.seconds_left
        loop = asyncio.get_running_loop()
        timer = None if left is None else loop.call_later(max(0.0, left), self.stop, StopReason.OUT_OF_TIME)
        try:
            await self._run()
        except LeaseLostError:
            self.stop(StopReason.LEASE_LOST)
        except TRANSIENT as error:
            await self._put_off(error)
        except Exception:  # noqa: BLE001  (a fault of ours must not leave the job running for ever)
            _log.exception("attempt_broke", job_id=str(self.claim.job_id))
            self._standing.reason, self._last, self._desk.dropped_logs = StopReason.FAILED, None, 0
            self._failure = job_error("internal_error", "the worker could not go on with the job")
            await self._stop_steps()
            await self._end()
        finally:
            if timer is not None:
                timer.cancel()
            await self._stop_steps()
            self.sender.close()
            self._tools.commit.end_attempt(self.claim.job_id, self.claim.fence)

    async def _put_off(self, error: Exception) -> None:
        """PostgreSQL's trouble is not the job's: whoever claims it next goes on from what is stored."""
        _log.warning("attempt_put_off", job_id=str(self.claim.job_id), error=str(error))
        self.stop(StopReason.HANDED_BACK)
        await self._stop_steps()
        with contextlib.suppress(LeaseLostError, *TRANSIENT):
            # Where this fails, too, the lease is given back as one that nobody knows.
            await self._end()

    async def _run(self) -> None:
        if self.claim.cancel_requested:
            self.stop(StopReason.CANCELLED)
        else:
            try:
                with contained:
                    params = self._pipeline.decode_params(self.claim.params)
            except Exception as error:  # noqa: BLE001  (a struct may check itself in code of its own)
                self._fail(job_error("params_invalid", said_by(error)))
            else:
                await self._walk(StepRunner(self._tools, self.claim, self._desk, params, self._standing))
        await self._stop_steps()
        if self._standing.reason is not StopReason.LEASE_LOST:
            await self._end()

    async def _walk(self, runner: StepRunner) -> None:
        """Start what can start until all is done, all waits, or the attempt is to stop."""
        self._recount()
        while not self._standing.is_set:
            await self._expand(runner)
            if self._standing.is_set:
                return
            lone = None if self._running else self._plan.take_lone()
            if lone is not None:
                await self._run_step(runner, lone)
            else:
                self._start_steps(runner)
            waits_long = not self._running and self._must_wait_long()
            if waits_long or self._standing.is_set or self._last is not None or self._plan.is_done:
                return
            if lone is None:
                await self._wait()

    def _recount(self) -> None:
        """Take over what earlier attempts have finished."""
        for group in self._plan.groups.values():
            if group.node.for_each is not None and group.runs is not None:
                self._progress.expand(group.node.name, len(group.runs))
            for run in group.runs or ():
                if run.state is StepState.SUCCEEDED:
                    self._progress.finish(run.node.name, run.key)
            self._collect(group)

    def _collect(self, group: Group) -> None:
        if group.runs is not None and not group.left:
            self._desk.outputs[group.node.name] = self._plan.output_of(group)

    async def _expand(self, runner: StepRunner) -> None:
        """Compute the items of the `for_each` steps whose turn has come, once, and store them."""
        while self._plan.to_expand and not self._standing.is_set:
            group = self._plan.to_expand.popleft()
            name = group.node.name
            try:
                items = await runner.items(group.node)
            except Exception as error:  # noqa: BLE001  (the author's function may raise anything)
                code = error.code if isinstance(error, OutputError) else "items_failed"
                self._fail(job_error(code, f"{type(error).__name__}: {said_by(error)}", name))
                return
            if items is None:
                return
            await self._desk.write(self._records.items(name, items))
            self._plan.expand(group, items)
            self._progress.expand(name, len(group.runs or ()))
            self._collect(group)

    def _start_steps(self, runner: StepRunner) -> None:
        while len(self._running) < _MOST_AT_ONCE:
            run = self._plan.take(time.monotonic())
            if run is None:
                return
            self._running[asyncio.create_task(self._run_step(runner, run))] = run

    def _must_wait_long(self) -> bool:
        """Whether nothing is left but to wait longer than a second: then the job holds no slot."""
        ready_at = self._plan.next_ready_at()
        return ready_at is not None and ready_at - time.monotonic() > _HOLD_SECONDS

    async def _wait(self) -> None:
        """Until a step run ends, a waiting one may start, or the attempt is to stop."""
        ready_at = self._plan.next_ready_at()
        is_full = len(self._running) >= _MOST_AT_ONCE
        seconds = None if ready_at is None or is_full else ready_at - time.monotonic()
        await first_of(*self._running, stop=self._standing, seconds=seconds)
        self._reap()

    def _reap(self) -> None:
        for task in [task for task in self._running if task.done()]:
            del self._running[task]
            if not task.cancelled():
                task.result()

    async def _stop_steps(self) -> None:
        """Stop what still runs; each step run ends within its grace, those that wait for a slot at once."""
        if not self._running:
            return
        self._standing.set()
        for task, run in self._running.items():
            if not run.entered:
                task.cancel()
        await asyncio.wait(self._running)
        for task in self._running:
            # It ends anyway, and for the reason that came first.
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.info("step_not_written", job_id=str(self.claim.job_id), error=repr(error))
        self._running.clear()

    async def _run_step(self, runner: StepRunner, run: StepPlan) -> None:
        began = 0.0

        def begin() -> None:
            nonlocal began
            began = time.monotonic()
            run.entered = True
            self._desk.tell(self._records.started(run))

        try:
            output = await runner.run(run, begin)
        except (JobCancelledError, LeaseLostError) as error:
            if isinstance(error, LeaseLostError):
                self.stop(StopReason.LEASE_LOST)
            elif not self._standing.is_set:
                await self._step_failed(run, error)
        except StepStoppedError as error:
            if error.reason == "timeout":
                await self._step_failed(run, error)
        except TRANSIENT as error:
            # PostgreSQL's trouble is not the step's: it costs no try.
            _log.warning("attempt_put_off", job_id=str(self.claim.job_id), step=run.key, error=str(error))
            self.stop(StopReason.HANDED_BACK)
        except Exception as error:  # noqa: BLE001  (a step may raise anything)
            await self._step_failed(run, error)
        else:
            await self._step_succeeded(run, output, int((time.monotonic() - began) * 1000))

    async def _step_succeeded(self, run: StepPlan, output: str, took_ms: int) -> None:
        run.output = output
        change = self._records.succeeded(run, took_ms)
        self._progress.finish(run.node.name, run.key)
        if self._plan.is_last(run):
            self._last = change
        else:
            change.progress = self._progress.fraction
            await self._desk.write(change)
            self.sender.flush()
        # Only now may the steps after it start: what they build on is stored.
        self._plan.succeed(run)
        self._collect(self._plan.groups[run.node.name])

    async def _step_failed(self, run: StepPlan, error: Exception) -> None:
        run.tries += 1
        verdict = decide_retry(run.node, run.key, error, run.tries, self.claim.max_attempts)
        _log.warning(
            "step_failed",
            job_id=str(self.claim.job_id),
            step=run.key,
            failures=run.tries,
            error=verdict.error.message,
            child_traceback=error.traceback if isinstance(error, ChildError) else None,
            exc_info=None if isinstance(error, ChildError | StepStoppedError) else error,
        )
        await self._desk.write(self._records.failed(run, verdict.error, verdict.wait))
        run.entered = False
        if verdict.wait is None:
            run.state = StepState.FAILED
            self._fail(verdict.error)
        else:
            self._plan.put_off(run, time.monotonic() + verdict.wait.total_seconds())

    def _fail(self, error: JobError) -> None:
        self._failure = self._failure or error
        self.stop(StopReason.FAILED)

    async def _end(self) -> None:
        """Write the end of the attempt."""
        # A copy: where the end cannot be written, it is made once more.
        change = self._records.empty()
        if self._last is not None:
            change.fold(self._last)
        if self._desk.dropped_logs:
            text = f"{self._desk.dropped_logs} more log messages were dropped"
            change.events.append(write(LogWritten(level="warning", message=text)))
        is_done = self._last is not None or self._plan.is_done
        change.move, event = conclude(
            self._plan, self._standing.reason, self._failure, is_done=is_done, now=self.claim.now
        )
        for run, state in unfinished_steps(self._plan, change.move.target):
            if run.key not in change.steps:
                change.steps[run.key] = self._records.row(run, state)
        change.progress = self._progress.fraction
        change.events.append(write(event))
        await self._desk.finish(change)
