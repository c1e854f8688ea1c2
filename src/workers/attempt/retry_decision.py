"""What a failed try means: try again, and when, or fail the job. Pure but for the dice of the backoff."""

from datetime import timedelta

from msgspec import Struct

from headrace.domain.events.types import JobError
from headrace.domain.jobs.attempts import backoff
from headrace.domain.pipelines.context import PermanentError, RetryableError
from headrace.domain.pipelines.definition import Node
from headrace.workers.attempt.executors import StepStoppedError
from headrace.workers.attempt.process_executor import ChildDiedError, ChildError
from headrace.workers.attempt.values import OutputError, job_error, said_by

_LONGEST_WAIT_SECONDS = 30 * 86_400.0


class RetryDecision(Struct, frozen=True):
    """*wait* None: the step, and with it the job, has failed."""

    error: JobError
    wait: timedelta | None


def decide_retry(
    node: Node, key: str, error: BaseException, failures: int, max_attempts: int | None
) -> RetryDecision:
    """Judge the try that raised *error*, the step's failure number *failures* (from 1).

    A job's `max_attempts`, if given, replaces `retries + 1` for all its steps.
    """
    described = describe(error, key, node)
    allowed = node.step.retries + 1 if max_attempts is None else max_attempts
    if isinstance(error, PermanentError | OutputError) or failures >= allowed:
        return RetryDecision(described, None)
    if isinstance(error, RetryableError) and error.retry_after_seconds is not None:
        return RetryDecision(
            described, timedelta(seconds=min(error.retry_after_seconds, _LONGEST_WAIT_SECONDS))
        )
    return RetryDecision(described, backoff.delay(failures))


def describe(error: BaseException, key: str, node: Node) -> JobError:
    """The error as the job shows it: a stable code, a sentence, never a traceback."""
    match error:
        case PermanentError() | OutputError():
            code, message = error.code, said_by(error)
        case RetryableError():
            code, message = "step_failed", said_by(error)
        case StepStoppedError():
            code = "step_timeout"
            message = f"the step took longer than {node.step.timeout.total_seconds():g} s"
        case ChildDiedError():
            code, message = "process_died", str(error)
        case ChildError():
            code, message = "step_failed", str(error)
        case _:
            code, message = "step_failed", f"{type(error).__name__}: {said_by(error)}"
    return job_error(code, message, key)
