"""Runs the step graph of one attempt: starts steps, stores their results and schedules retries."""

import asyncio
import time
from functools import cache, partial
from typing import Final

import structlog

from headrace.adapters.store_errors import StoreError
from headrace.domain.database import TRANSIENT
from headrace.domain.events.types import JobError
from headrace.domain.jobs.attempts.changes import Change
from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.jobs.errors import LeaseLostError
from headrace.domain.jobs.progress import JobProgress
from headrace.domain.jobs.states import StepState
from headrace.domain.pipelines.context import JobCancelledError
from headrace.workers.attempt.changes import ChangeBuilder
from headrace.workers.attempt.executors import StepStoppedError
from headrace.workers.attempt.outcome import AttemptStatus, StopReason
from headrace.workers.attempt.plan import Group, Plan, StepPlan
from headrace.workers.attempt.progress_sender import ProgressSender
from headrace.workers.attempt.retry_decision import decide_retry, log_failure
from headrace.workers.attempt.step_host import StepHost
from headrace.workers.attempt.step_runner import StepRunner
from headrace.workers.attempt.waiting import wait_first
from headrace.workers.child.fork import ForkServerEndedError
from headrace.workers.containment import contained
from headrace.workers.monitor import Monitor, StepOutcome
from headrace.workers.outputs import OutputSizes
from headrace.workers.values import OutputError, job_error, named_error, release_values

_log = structlog.get_logger(__name__)

_MAX_RUNNING_STEPS: Final = 64
_MAX_IDLE_SECONDS: Final = 1.0
# Where a store of files lets a step down, it may do so at once and again.
_STORE_PAUSE_SECONDS: Final = 30.0


class GraphRunner:
    """Runs the steps of one attempt until all are done, all wait for long, or the attempt stops.

    *failure* is the first error that fails the job. *pause_seconds*: how long the job rests before another
    attempt, if this one is handed back. *last_success* is the change of the last step, which is
    not written by itself but together with the end of the job. *monitor* is told of the end of each try.
    """

    def __init__(
        self,
        claim: Claim,
        plan: Plan,
        *,
        progress: JobProgress,
        changes: ChangeBuilder,
        host: StepHost,
        sender: ProgressSender,
        status: AttemptStatus,
        sizes: OutputSizes,
    ) -> None:
        self._claim = claim
        self._plan = plan
        self._progress = progress
        self._changes = changes
        self._host = host
        self._sender = sender
        self._status = status
        self._sizes = sizes
        self._running: dict[asyncio.Task[None], StepPlan] = {}
        self._waits = host.waits
        self._waits.runs = self._running.values()
        # Where one output is too large, many beside it may be. The first one fails the job.
        self._has_refused_output = False
        self.monitor: Monitor | None = None
        self.failure: JobError | None = None
        self.pause_seconds = 0.0
        self.last_success: Change | None = None

    async def run(self, runner: StepRunner) -> None:
        """Run steps until all are done, all wait for long, or the attempt stops."""
        if self._claim.steps:
            self._restore()
        while not self._status.is_set:
            await self._expand(runner)
            if self._status.is_set:
                return
            lone = None if self._running else self._plan.start_lone()
            if lone is None:
                self._start_steps(runner)
            if not self._waits_for_process():
                runner.release_unused_slot()
            if lone is not None:
                await self._run_lone(runner, lone)  # a task of its own would only cost time
            if self._waits_long_for_slots():
                self._status.stop(StopReason.HANDED_BACK)
                return
            waits_long = not self._running and self._must_wait_long()
            is_over = self.last_success is not None or self._plan.is_done
            if waits_long or is_over or self._status.is_set:
                return
            if lone is None:
                await self._wait()

    async def stop(self) -> None:
        """Stop the running steps and wait for them; steps that wait for a slot end at once."""
        if not self._running:
            return
        self._waits.end()
        self._status.set()
        for task, run in self._running.items():
            if not run.has_slot:
                task.cancel()
        await asyncio.wait(self._running)
        for task in self._running:
            # The attempt ends anyway, for the reason that came first.
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.info("step_not_written", job_id=str(self._claim.job_id), error=repr(error))
        self._running.clear()

    async def refuse(self, run: StepPlan, error: JobError) -> None:
        """Fail the job with *error* because *run* must not be entered."""
        if error.code == "step_lost":
            await self._host.write(self._changes.failed(run, error, None), run.key)
            run.state = StepState.FAILED
        self.fail(error)

    def fail(self, error: JobError) -> None:
        """Stop the attempt and fail the job; the first *error* counts."""
        self.failure = self.failure or error
        self._status.stop(StopReason.FAILED)

    def _restore(self) -> None:
        """Take over the progress and outputs of the steps that earlier attempts have finished."""
        for group in self._plan.groups.values():
            if group.node.for_each is not None and group.runs is not None:
                self._progress.expand(group.node.name, len(group.runs))
            for run in group.runs or ():
                if run.state is StepState.SUCCEEDED:
                    self._progress.finish(run.node.name, run.key)
                    self._sizes.add(run.node, run.output or "null")
            self._publish_output(group)

    def _publish_output(self, group: Group) -> None:
        """Make the output of a step that is done available to the steps after it."""
        if group.runs is not None and not group.left:
            self._host.outputs[group.node.name] = cache(partial(self._plan.output_of, group))

    async def _expand(self, runner: StepRunner) -> None:
        """Compute and store the items of unblocked `for_each` steps, once per job."""
        while self._plan.to_expand and not self._status.is_set:
            group = self._plan.to_expand.popleft()
            name = group.node.name
            try:
                items = await runner.items(group.node)
            except Exception as error:  # noqa: BLE001  (the author's function may raise anything)
                if isinstance(error, OutputError):
                    self.fail(job_error(error.code, str(error), name))
                else:
                    with runner.entry.running():
                        message = named_error(error)
                    self.fail(job_error("items_failed", message, name))
                release_values(error)
                return
            if items is None:
                return
            await self._host.write(self._changes.items(name, items), name)
            self._plan.expand(group, items)
            self._progress.expand(name, len(group.runs or ()))
            self._publish_output(group)

    def _start_steps(self, runner: StepRunner) -> None:
        while len(self._running) < _MAX_RUNNING_STEPS:
            run = self._plan.start_next(time.monotonic())
            if run is None:
                return
            self._waits.end()
            self._running[asyncio.create_task(self._run_step(runner, run))] = run

    def _must_wait_long(self) -> bool:
        """Return whether the next retry is over a second away: then the job gives its slot back."""
        ready_at = self._plan.next_ready_at()
        return ready_at is not None and ready_at - time.monotonic() > _MAX_IDLE_SECONDS

    def _waits_for_process(self) -> bool:
        """Return whether a step run has started that needs a process slot and does not have it yet."""
        return any(run.node.step.runs_in == "process" and not run.has_slot for run in self._running.values())

    def _waits_long_for_slots(self) -> bool:
        """Return whether it only waits for process slots, and for a second: then others may run it."""
        since = self._waits.since_for_slots()
        return since is not None and time.monotonic() - since >= _MAX_IDLE_SECONDS

    async def _wait(self) -> None:
        """Wait until a step run ends, a delayed one may start, or the attempt stops."""
        ready_at = self._plan.next_ready_at()
        is_full = len(self._running) >= _MAX_RUNNING_STEPS
        seconds = None if ready_at is None or is_full else ready_at - time.monotonic()
        if self._waits_for_process():
            await asyncio.sleep(0)  # steps that have just started wait from now on
            since = self._waits.since_for_slots()
            idle_seconds = _MAX_IDLE_SECONDS - (0.0 if since is None else time.monotonic() - since)
            seconds = idle_seconds if seconds is None else min(seconds, idle_seconds)
        await wait_first(*self._running, stop=self._status, seconds=seconds)
        self._reap()

    def _reap(self) -> None:
        for task in [task for task in self._running if task.done()]:
            del self._running[task]
            self._waits.active_at = time.monotonic()
            if not task.cancelled():
                task.result()

    async def _run_lone(self, runner: StepRunner, run: StepPlan) -> None:
        self._waits.lone = run
        try:
            await self._run_step(runner, run)
        finally:
            self._waits.lone = None

    async def _run_step(self, runner: StepRunner, run: StepPlan) -> None:
        try:
            output = await runner.run(run, self._enter)
            self._sizes.check(run.node, run.key, output)
        except (JobCancelledError, LeaseLostError) as error:
            if isinstance(error, LeaseLostError):
                self._status.stop(StopReason.LEASE_LOST)
            elif not self._status.is_set:
                await self._step_failed(runner, run, error)
        except StepStoppedError as error:
            if error.trouble is not None:
                await self._step_put_off(runner, run, error.trouble)
            elif error.reason == "timeout":
                await self._step_failed(runner, run, error)
            else:
                self._report(run, "stopped")
        except (*TRANSIENT, StoreError, ForkServerEndedError) as error:
            await self._step_put_off(runner, run, error)
        except Exception as error:  # noqa: BLE001  (a step may raise anything)
            await self._step_failed(runner, run, error)
        else:
            await self._step_succeeded(run, output, int((time.monotonic() - run.entered_at) * 1000))

    async def _step_put_off(self, runner: StepRunner, run: StepPlan, error: Exception) -> None:
        """Hand the job back: an outage of a service or the fork server costs the step no try.

        A step that must not run twice fails instead, with what has gone wrong, if it was entered.
        """
        is_outage = not isinstance(error, ForkServerEndedError)
        if is_outage and run.node.step.on_loss == "fail" and run.entered_at and not self._status.is_set:
            await self._step_failed(runner, run, error)
            return
        _log.warning("attempt_put_off", job_id=str(self._claim.job_id), step=run.key, error=str(error))
        if isinstance(error, StoreError) and not self._status.is_set:
            self.pause_seconds = _STORE_PAUSE_SECONDS
        self._status.stop(StopReason.HANDED_BACK)

    async def _enter(self, run: StepPlan) -> None:
        """Record that *run* has its slot and begins."""
        if run.waits_since is not None:
            self._waits.end()
            run.waits_since = None
        run.has_slot = True
        run.entered_at = 0.0
        if run.node.step.on_loss == "fail":
            # If this worker dies now, the next attempt must know that the step was entered.
            await self._host.write(self._changes.started(run), run.key)
        else:
            self._host.write_later(self._changes.started(run))
        run.entered_at = self._waits.active_at = time.monotonic()

    async def _step_succeeded(self, run: StepPlan, output: str, took_ms: int) -> None:
        self._report(run, "succeeded")
        run.output = output
        change = self._changes.succeeded(run, took_ms)
        self._progress.finish(run.node.name, run.key)
        if self._plan.is_last(run):
            self.last_success = change
        else:
            change.progress = self._progress.fraction
            await self._host.write(change, run.key)
            self._sender.flush()
        # The output is stored now, so the steps after it may start.
        self._plan.succeed(run)
        self._publish_output(self._plan.groups[run.node.name])

    def _report(self, run: StepPlan, outcome: StepOutcome) -> None:
        """Report the end of a try to the monitor. A try that was not entered has taken no time."""
        if self.monitor is not None and run.has_slot and run.entered_at:
            seconds = time.monotonic() - run.entered_at
            self.monitor.on_step(self._claim.pipeline, run.node.name, outcome, seconds)

    async def _step_failed(self, runner: StepRunner, run: StepPlan, error: Exception) -> None:
        if isinstance(error, OutputError) and self._has_refused_output:
            return
        self._has_refused_output |= isinstance(error, OutputError)
        run.tries += 1
        with runner.entry.running(), contained:
            decision = decide_retry(run.node, run.key, error, run.tries, self._claim.max_attempts)
            log_failure(self._claim.job_id, run.key, run.tries, decision, error)
        release_values(error)
        self._report(run, "failed" if decision.delay is None else "retried")
        await self._host.write(self._changes.failed(run, decision.error, decision.delay), run.key)
        run.has_slot = False
        if decision.delay is None:
            run.state = StepState.FAILED
            self.fail(decision.error)
        else:
            self._plan.retry_at(run, time.monotonic() + runner.pause_seconds(decision.delay))
