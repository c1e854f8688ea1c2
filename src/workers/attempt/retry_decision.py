"""Decides whether a failed try is retried, and after which delay, or fails the job."""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from msgspec import Struct

from headrace.adapters.store_errors import StoreError
from headrace.domain.database import TRANSIENT
from headrace.domain.events.types import JobError
from headrace.domain.jobs.attempts import backoff
from headrace.domain.pipelines.context import PermanentError, RetryableError
from headrace.domain.pipelines.definition import Node
from headrace.domain.pipelines.tracebacks import author_traceback
from headrace.workers.attempt.executors import StepStoppedError
from headrace.workers.attempt.process_executor import ChildDiedError, ChildError
from headrace.workers.child.fork import ForkServerEndedError
from headrace.workers.values import OutputError, error_text, job_error, named_error

_log = structlog.get_logger(__name__)

# Their message says what happened, so their log line has no traceback.
_EXPLAINED: Final = (
    PermanentError,
    RetryableError,
    OutputError,
    StepStoppedError,
    ChildDiedError,
    ForkServerEndedError,
    StoreError,
    *TRANSIENT,
)
_MAX_DELAY_SECONDS: Final = 3_653 * 86_400.0


class RetryDecision(Struct, frozen=True):
    """The error to show, and the *delay* before the next try; None: the step and its job have failed."""

    error: JobError
    delay: timedelta | None


def decide_retry(
    node: Node, key: str, error: BaseException, failures: int, max_attempts: int | None
) -> RetryDecision:
    """Decide whether to retry after *error*, failure number *failures* (from 1) of the step run.

    A job's `max_attempts`, if given, replaces `retries + 1` for all its steps. Pure, except that the backoff
    is random.
    """
    described = describe(error, key, node)
    if node.step.on_loss == "fail" and _may_have_run(error):
        message = f"{described.message}; it may have run to its end, and must not run twice"
        return RetryDecision(job_error("step_lost", message, key), None)
    if isinstance(error, StepStoppedError) and node.step.has_default_timeout:
        return RetryDecision(described, None)  # another try would take as long
    max_tries = node.step.retries + 1 if max_attempts is None else max_attempts
    if isinstance(error, PermanentError | OutputError) or failures >= max_tries:
        return RetryDecision(described, None)
    if isinstance(error, RetryableError) and error.retry_after_seconds is not None:
        if not error.retry_after_seconds <= _MAX_DELAY_SECONDS:
            message = f"retry_after is at most ten years, not {error.retry_after_seconds:g} s"
            return RetryDecision(job_error("retry_after_invalid", message, key), None)
        return RetryDecision(described, timedelta(seconds=error.retry_after_seconds))
    return RetryDecision(described, backoff.delay(failures))


def _may_have_run(error: BaseException) -> bool:
    """Return whether the step was entered and may have ended: it was killed, or it ran out of time or into an
    outage.
    """
    return isinstance(error, (StepStoppedError, StoreError, *TRANSIENT)) or (
        isinstance(error, ChildDiedError) and error.has_entered
    )


def describe(error: BaseException, key: str, node: Node) -> JobError:
    """Return the error as the job shows it: a stable code and a sentence, never a traceback."""
    match error:
        case PermanentError() | OutputError():
            code, message = error.code, error_text(error) or type(error).__name__
        case RetryableError():
            code, message = "step_failed", error_text(error) or type(error).__name__
        case StepStoppedError():
            code = "step_timeout"
            message = f"the step took longer than {node.step.timeout.total_seconds():g} s"
            if node.step.has_default_timeout:
                message += ", the default; @step(timeout=...) sets another limit"
        case ChildDiedError():
            code, message = "process_died", str(error)
        case ChildError():
            code, message = "step_failed", str(error)
        case _:
            code, message = "step_failed", named_error(error)
    return job_error(code, message, key)


def log_failure(job_id: UUID, key: str, failures: int, decision: RetryDecision, error: Exception) -> None:
    """Log a failed try of a step run. Only an error that nobody expected has its traceback below the line."""
    delay = decision.delay
    _log.warning(
        "step_failed",
        job_id=str(job_id),
        step=key,
        failures=failures,
        error_code=decision.error.code,
        error=decision.error.message,
        **({} if delay is None else {"retry_in_seconds": round(delay.total_seconds(), 3)}),
        **_traceback(error),
    )


def _traceback(error: Exception) -> dict[str, Any]:
    if isinstance(error, ChildError):
        return {"exception": error.traceback}
    if isinstance(error, _EXPLAINED):
        return {}
    return {"exc_info": (type(error), error, author_traceback(error))}
