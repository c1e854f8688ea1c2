"""Runs one attempt of one job, from its claim to the change that ends it."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

import structlog

from headrace.adapters.logs import RUNNING_JOB, RunningJob
from headrace.domain.database import TRANSIENT
from headrace.domain.events.encoding import encode_event
from headrace.domain.events.types import JobError, LogWritten, Progress
from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.jobs.errors import ChangeRefusedError, LeaseLostError
from headrace.domain.jobs.progress import JobProgress
from headrace.domain.jobs.states import JobState
from headrace.workers.attempt.changes import ChangeBuilder
from headrace.workers.attempt.graph_runner import GraphRunner
from headrace.workers.attempt.outcome import AttemptStatus, StopReason, conclude, unfinished_steps
from headrace.workers.attempt.plan import Plan
from headrace.workers.attempt.progress_sender import ProgressSender
from headrace.workers.attempt.step_host import StepHost
from headrace.workers.attempt.step_runner import StepRunner
from headrace.workers.containment import contained
from headrace.workers.crash_record import Entry
from headrace.workers.outputs import OutputSizes
from headrace.workers.resources import WorkerResources
from headrace.workers.slots import AttemptSlots
from headrace.workers.values import error_text, job_error

_log = structlog.get_logger(__name__)

# Shorter ones would keep the loop busy while the attempt waits.
_MIN_EXTENSION_SECONDS: Final = 0.05


OnReport = Callable[[str, Progress], None]


class Attempt:
    """One claimed job that runs to its end, or until this attempt is stopped or put off."""

    def __init__(
        self, claim: Claim, resources: WorkerResources, *, on_report: OnReport | None = None
    ) -> None:
        """*on_report* is called with the key and the progress of each report, also of those not sent."""
        self.claim = claim
        self._resources = resources
        self._pipeline = resources.pipelines[(claim.pipeline, claim.version)]
        now = time.monotonic()
        self._plan = Plan(self._pipeline, claim.steps, now)
        self._slots = AttemptSlots(resources.process_slots, claimed=int(claim.needs_process))
        if claim.needs_process and not self._plan.needs_process(now):
            # The mark on the job was older than its steps.
            self._slots.release_unused()
        self.progress = JobProgress(self._pipeline.weights, floor=claim.progress)
        self._changes = ChangeBuilder(claim)
        self._status = AttemptStatus(claim.head)
        self._timer: asyncio.TimerHandle | None = None
        # The state of the job after this attempt, and the code of its error.
        self._outcome: tuple[str, str | None] = ("lost", None)
        self.sender = ProgressSender(claim, self.progress, resources.publisher, self._status)
        self._host = StepHost(
            claim,
            self._changes,
            commit=resources.commit,
            database=resources.database,
            blobs=resources.blobs,
            file_limits=resources.file_limits,
            on_progress=self.sender.report if on_report is None else _both(self.sender.report, on_report),
            status=self._status,
        )
        self._graph = GraphRunner(
            claim,
            self._plan,
            progress=self.progress,
            changes=self._changes,
            host=self._host,
            sender=self.sender,
            status=self._status,
            sizes=OutputSizes(resources.output_limits),
        )
        self._graph.monitor = resources.monitor

    def stop(self, reason: StopReason, *, deadline: float | None = None) -> None:
        """Stop the attempt soon; its steps have at most until *deadline*, by the monotonic clock."""
        if deadline is not None:
            self._status.deadline = deadline
        self._status.stop(reason)

    async def run(self) -> None:
        """Run the attempt, in a task of its own; only abandoned threads may still run when this returns."""
        RUNNING_JOB.set(RunningJob(self.claim.job_id, self.claim.request_id, self.claim.attempt))
        tracing = self._resources.tracing
        span = None if tracing is None else tracing.start_attempt(self.claim)
        job_log = self._resources.job_log
        is_logged = job_log.on_start(self.claim)
        if self.claim.seconds_left is not None:
            self._limit_time(max(0.0, self.claim.seconds_left), extended_by=0.0)
        try:
            await self._run()
        except LeaseLostError:
            self.stop(StopReason.LEASE_LOST)
        except TRANSIENT as error:
            await self._put_off(error)
        except ChangeRefusedError as error:
            _log.warning("change_refused", job_id=str(self.claim.job_id), error=str(error))
            await self._fail_without_values(job_error("value_not_storable", error_text(error)))
        except Exception:  # noqa: BLE001  (a bug of ours must not leave the job running forever)
            _log.exception("attempt_broke", job_id=str(self.claim.job_id))
            await self._fail_without_values(
                job_error("internal_error", "the worker could not go on with the job")
            )
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await self._graph.stop()
            self._slots.release_unused()
            self.sender.close()
            self._resources.commit.end_attempt(self.claim.job_id, self.claim.fence)
            job_log.on_end(self.claim, *self._outcome, is_logged=is_logged)
            if span is not None:
                span.end(self._outcome[0])

    def _limit_time(self, seconds: float, *, extended_by: float) -> None:
        """Stop the attempt in *seconds*, and later by the time that it has only waited: see `StepWaits`.

        *extended_by*: how much of that time the limit includes already.
        """
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._on_time_over, extended_by)

    def _on_time_over(self, extended_by: float) -> None:
        waited = self._host.waits.waited_seconds
        if waited > extended_by:
            self._limit_time(max(waited - extended_by, _MIN_EXTENSION_SECONDS), extended_by=waited)
        else:
            self.stop(StopReason.OUT_OF_TIME)

    async def _run(self) -> None:
        if self.claim.cancel_requested:
            self.stop(StopReason.CANCELLED)
        elif self._plan.refusal is not None:
            await self._graph.refuse(*self._plan.refusal)
        else:
            # It records when the loop runs the author's code, apart from that of the steps.
            entry = Entry(self._resources.crash_record, self.claim.lease)
            try:
                with entry.running(), contained:
                    params = self._pipeline.decode_params(self.claim.params)
            except Exception as error:  # noqa: BLE001  (a params struct may run the author's code)
                with entry.running():
                    text = error_text(error)
                self._graph.fail(job_error("params_invalid", text))
            else:
                await self._graph.run(
                    StepRunner(
                        self._resources, self.claim, self._host, params, self._status, self._slots, entry
                    )
                )
        await self._graph.stop()
        if self._status.reason is not StopReason.LEASE_LOST:
            await self._end()

    async def _put_off(self, error: Exception) -> None:
        """Requeue the job because PostgreSQL was away; the next attempt continues from the stored steps."""
        _log.warning("attempt_put_off", job_id=str(self.claim.job_id), error=str(error))
        self.stop(StopReason.HANDED_BACK)
        await self._graph.stop()
        await self._end_if_possible()

    async def _fail_without_values(self, error: JobError) -> None:
        """Fail the job with *error*. Write nothing else, since that may be the cause."""
        self._status.reason = StopReason.FAILED
        self._host.dropped_logs = 0
        self._graph.last_success = None
        self._graph.failure = error
        await self._graph.stop()
        await self._end_if_possible()

    async def _end_if_possible(self) -> None:
        # Otherwise the heartbeat hands the lease back as an orphan.
        with contextlib.suppress(LeaseLostError, *TRANSIENT):
            await self._end()

    async def _end(self) -> None:
        """Write the end of the attempt."""
        # Build a new change, so that a second call after a failed write starts from the same state.
        change = self._changes.empty()
        if self._graph.last_success is not None:
            change.fold(self._graph.last_success)
        if self._host.dropped_logs:
            text = f"{self._host.dropped_logs} more log messages were dropped"
            change.events.append(encode_event(LogWritten(level="warning", message=text)))
        is_done = self._graph.last_success is not None or self._plan.is_done
        change.move, event = conclude(
            self._plan,
            self._status.reason,
            self._graph.failure,
            is_done=is_done,
            now=self.claim.now,
            pause_seconds=self._graph.pause_seconds,
            waited_seconds=self._host.waits.waited_seconds,
        )
        for run, state in unfinished_steps(self._plan, change.move.target):
            if run.key not in change.steps:
                change.steps[run.key] = self._changes.row(run, state)
        change.progress = self.progress.fraction
        change.events.append(encode_event(event))
        new_state = await self._host.finish(change) or change.move.target.value
        # A cancel that was requested meanwhile overrules a failure.
        error = change.move.error if new_state == change.move.target.value else None
        self._outcome = (new_state, None if error is None else error.code)
        monitor = self._resources.monitor
        if monitor is not None and new_state == JobState.QUEUED and self._status.reason is not None:
            monitor.on_hand_back()


def _both(
    send: Callable[[str, str, Progress], None], on_report: OnReport
) -> Callable[[str, str, Progress], None]:
    """Return a function that passes a report to both, and does not refer to the attempt: see its status."""

    def report(name: str, key: str, progress: Progress) -> None:
        send(name, key, progress)
        on_report(key, progress)

    return report
