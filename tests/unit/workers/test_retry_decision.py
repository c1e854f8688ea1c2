"""When a failed try is retried, and when it fails the job."""

from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from headrace import Pipeline, StepContext, step
from headrace.domain.errors import HeadraceError
from headrace.domain.jobs.attempts import backoff
from headrace.domain.pipelines.context import JobCancelledError, PermanentError, RetryableError
from headrace.domain.pipelines.definition import Node, OnLoss
from headrace.domain.redaction import REDACTED
from headrace.workers.attempt.executors import StepStoppedError
from headrace.workers.attempt.process_executor import ChildDiedError, ChildError
from headrace.workers.attempt.retry_decision import RetryDecision, decide_retry, describe, log_failure
from headrace.workers.child.fork import StepNotStartedError
from headrace.workers.values import OutputError
from support.worker_builders import new_node

LONGEST = timedelta(days=3_653)
KEY = "work[4]"
WITHOUT_DELAY: list[BaseException] = [
    RetryableError("busy"),
    StepStoppedError("timeout"),
    ChildDiedError(-9),
    ChildError("ValueError: no", "a traceback"),
    JobCancelledError(),
    ValueError("no"),
    SystemExit(1),
]
"""Errors that do not request a delay."""
TRANSIENT = [*WITHOUT_DELAY, RetryableError("busy", retry_after=5)]
PERMANENT: list[BaseException] = [PermanentError("never"), OutputError("output_invalid", "no JSON")]


class FixedRandom:
    """A random source that always returns the same number."""

    def __init__(self, unit: float) -> None:
        self._unit = unit

    def random(self) -> float:
        return self._unit


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("of the author")


class ContradictoryError(RetryableError, PermanentError):
    """An error that is both retryable and permanent."""

    def __init__(self) -> None:
        RetryableError.__init__(self, "both")
        self.code = "both"


def judge(
    error: BaseException, failures: int = 1, *, retries: int = 3, max_attempts: int | None = None
) -> RetryDecision:
    return decide_retry(new_node(retries=retries), KEY, error, failures, max_attempts)


def paying_node(on_loss: OnLoss, **options: Any) -> Node:
    def pay(context: StepContext[Any]) -> None: ...

    pipeline = Pipeline("paying", params=dict)
    pipeline.add(step(on_loss=on_loss, runs_in="process", **options)(pay))
    return pipeline.nodes["pay"]


def message_of(error: BaseException) -> str:
    return describe(error, KEY, new_node()).message


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_transient_errors_are_retried(error: BaseException) -> None:
    assert judge(error).delay is not None


@pytest.mark.parametrize("error", [*TRANSIENT, *PERMANENT], ids=repr)
def test_no_error_is_retried_once_all_tries_are_used(error: BaseException) -> None:
    assert judge(error, 4, retries=3).delay is None


@pytest.mark.parametrize("error", PERMANENT, ids=repr)
def test_permanent_errors_are_not_retried_even_if_tries_are_left(error: BaseException) -> None:
    assert judge(error, 1, retries=99, max_attempts=99).delay is None


def test_an_error_that_is_permanent_and_retryable_is_permanent() -> None:
    decision = judge(ContradictoryError())

    assert (decision.error.code, decision.delay) == ("both", None)


@pytest.mark.parametrize(
    ("retries", "max_attempts", "tries"),
    [
        (0, None, 1),
        (1, None, 2),
        (3, None, 4),
        (3, 1, 1),
        (3, 2, 2),
        (0, 3, 3),
        (3, 1000, 1000),
    ],
)
def test_a_step_has_one_try_more_than_retries_unless_the_job_sets_max_attempts(
    retries: int, max_attempts: int | None, tries: int
) -> None:
    def is_over(failures: int) -> bool:
        return judge(ValueError(), failures, retries=retries, max_attempts=max_attempts).delay is None

    assert [is_over(failures) for failures in (tries - 1, tries, tries + 1)] == [False, True, True]


@pytest.mark.parametrize("requested", [0, 0.25, 7, timedelta(minutes=2), LONGEST])
def test_a_step_is_retried_after_its_requested_delay(requested: float | timedelta) -> None:
    wait = requested if isinstance(requested, timedelta) else timedelta(seconds=requested)

    assert judge(RetryableError("busy", retry_after=requested)).delay == wait


@pytest.mark.parametrize("requested", [LONGEST + timedelta(seconds=1), timedelta.max, 1e300, float("inf")])
def test_a_delay_of_more_than_ten_years_is_refused_and_never_cut(requested: float | timedelta) -> None:
    decision = judge(RetryableError("busy", retry_after=requested))

    assert (decision.error.code, decision.delay) == ("retry_after_invalid", None)
    assert decision.error.message.startswith("retry_after is at most ten years, not ")


@pytest.mark.parametrize("requested", [-1, timedelta(days=-1), float("nan"), float("-inf")])
def test_a_negative_or_undefined_delay_means_a_retry_at_once(requested: float | timedelta) -> None:
    assert judge(RetryableError("busy", retry_after=requested)).delay == timedelta(0)


@pytest.mark.parametrize("error", WITHOUT_DELAY, ids=repr)
def test_other_delays_double_with_each_failure_up_to_five_minutes(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(backoff, "_UNIT", FixedRandom(1.0))

    waits = [judge(error, failures, max_attempts=1000).delay for failures in (1, 2, 3, 8, 9, 10, 999)]

    assert waits == [timedelta(seconds=seconds) for seconds in (1, 2, 4, 128, 256, 300, 300)]


@pytest.mark.parametrize(("unit", "seconds"), [(0.0, 0), (0.25, 1), (0.5, 2)])
def test_a_delay_is_a_random_part_of_its_ceiling(
    monkeypatch: pytest.MonkeyPatch, unit: float, seconds: float
) -> None:
    monkeypatch.setattr(backoff, "_UNIT", FixedRandom(unit))

    assert judge(ValueError(), 3).delay == timedelta(seconds=seconds)


@given(st.integers(1, 999))
def test_a_delay_that_the_step_does_not_request_never_exceeds_its_ceiling(failures: int) -> None:
    wait = judge(ValueError(), failures, max_attempts=1000).delay

    assert wait is not None
    assert timedelta(0) <= wait <= backoff.ceiling(failures)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (PermanentError("never"), "permanent_error", "never"),
        (PermanentError("no credit", code="no_credit"), "no_credit", "no credit"),
        (OutputError("output_too_large", "17 bytes"), "output_too_large", "17 bytes"),
        (RetryableError("busy"), "step_failed", "busy"),
        (RetryableError("busy", retry_after=5), "step_failed", "busy"),
        (ChildDiedError(-9), "process_died", "the process of the step ended with signal SIGKILL"),
        (ChildDiedError(3), "process_died", "the process of the step ended with status 3"),
        (ChildDiedError(None), "process_died", "the process of the step ended with status None"),
        (ChildError("ValueError: no", "a traceback"), "step_failed", "ValueError: no"),
        (JobCancelledError(), "step_failed", "JobCancelledError: the job is cancelled"),
        (ValueError("no"), "step_failed", "ValueError: no"),
        (KeyError("a"), "step_failed", "KeyError: 'a'"),
        (ExceptionGroup("both", [ValueError()]), "step_failed", "ExceptionGroup: both (ValueError)"),
        (ValueError(), "step_failed", "ValueError"),
        (PermanentError(""), "permanent_error", "PermanentError"),
        (RetryableError(""), "step_failed", "RetryableError"),
        (SystemExit(1), "step_failed", "SystemExit: 1"),
        (MuteError(), "step_failed", "MuteError: (its text cannot be had)"),
    ],
    ids=repr,
)
def test_each_kind_of_error_has_its_code_and_its_message(
    error: BaseException, code: str, message: str
) -> None:
    described = describe(error, KEY, new_node())

    assert (described.code, described.message) == (code, message)


@pytest.mark.parametrize(
    ("timeout", "shown"),
    [(timedelta(seconds=2), "2 s"), (timedelta(milliseconds=250), "0.25 s"), (timedelta(hours=1), "3600 s")],
)
def test_the_error_of_a_step_timeout_names_the_timeout(timeout: timedelta, shown: str) -> None:
    described = describe(StepStoppedError("timeout"), KEY, new_node(timeout=timeout))

    assert described.code == "step_timeout"
    assert described.message == f"the step took longer than {shown}"


@pytest.mark.parametrize("error", [*TRANSIENT, *PERMANENT], ids=repr)
def test_a_decision_contains_the_error_of_the_step_run(error: BaseException) -> None:
    decision = judge(error)

    assert decision.error.step == KEY
    assert decision.error == describe(error, KEY, new_node())


def test_a_traceback_is_not_shown() -> None:
    assert "a traceback" not in repr(judge(ChildError("ValueError: no", "a traceback")).error)


@pytest.mark.parametrize(
    "make",
    [ValueError, RetryableError, PermanentError, lambda text: ChildError(text, "")],
    ids=["any", "retryable", "permanent", "child"],
)
def test_a_credential_in_a_message_is_not_shown(make: type[Exception]) -> None:
    message = message_of(make("no answer from redis://:hunter2@host"))

    assert message.removeprefix("ValueError: ") == f"no answer from redis://:{REDACTED}@host"


def test_a_long_message_is_cut_to_four_thousand_bytes() -> None:
    assert message_of(PermanentError("x" * 4000)) == "x" * 4000
    assert message_of(PermanentError("x" * 4001)) == "x" * 3997 + "..."
    assert message_of(PermanentError("é" * 4000)) == "é" * 1998 + "..."


def test_a_long_code_is_cut_to_sixty_four_bytes() -> None:
    assert describe(PermanentError("", code="c" * 65), KEY, new_node()).code == "c" * 61 + "..."


def test_characters_that_postgresql_cannot_store_are_replaced() -> None:
    assert message_of(PermanentError("a\0b\ud800c")) == "a␀b?c"


@pytest.mark.parametrize(("timeout", "is_retried"), [(None, False), (timedelta(hours=1), True)])
def test_a_time_out_is_retried_only_if_the_author_has_chosen_the_limit(
    timeout: timedelta | None, is_retried: bool
) -> None:
    async def work(context: StepContext[Any]) -> None: ...

    pipeline = Pipeline("working", params=dict)
    pipeline.add(step(work) if timeout is None else step(timeout=timeout)(work))

    decision = decide_retry(pipeline.nodes["work"], "work", StepStoppedError("timeout"), 1, None)

    assert (decision.delay is not None) == is_retried
    assert decision.error.code == "step_timeout"
    assert ("the default; @step(timeout=...)" in decision.error.message) != is_retried


def test_a_step_that_must_not_run_twice_is_retried_if_its_process_never_entered_it() -> None:
    node = paying_node("fail")
    errors = [
        ChildDiedError(1, has_entered=False),
        StepNotStartedError("Resource temporarily unavailable"),
        TimeoutError(),
    ]

    decisions = [decide_retry(node, KEY, error, 1, None) for error in errors]

    assert [decision.error.code for decision in decisions] == ["process_died", "step_failed", "step_failed"]
    assert all(decision.delay is not None for decision in decisions)
    assert decide_retry(node, KEY, ChildDiedError(1), 1, None).error.code == "step_lost"


@pytest.mark.parametrize(
    ("on_loss", "has_default_timeout", "code"),
    [
        ("retry", False, "step_timeout"),
        ("retry", True, "step_timeout"),
        ("fail", False, "step_lost"),
        ("fail", True, "step_lost"),
    ],
)
@pytest.mark.parametrize("is_abandoned", [False, True])
def test_a_try_that_ran_out_of_time_is_not_repeated_if_its_step_must_not_run_twice(
    on_loss: OnLoss, has_default_timeout: bool, code: str, is_abandoned: bool
) -> None:
    options = {} if has_default_timeout else {"timeout": timedelta(seconds=2)}
    node = paying_node(on_loss, **options)

    error = StepStoppedError("timeout", abandoned=cast(Any, object()) if is_abandoned else None)
    decision = decide_retry(node, "pay", error, 1, None)

    assert (decision.error.code, decision.delay is None) == (code, on_loss == "fail" or has_default_timeout)
    assert decision.error.message.startswith("the step took longer than")


@pytest.mark.parametrize(("on_loss", "code"), [("retry", "process_died"), ("fail", "step_lost")])
def test_a_killed_process_is_not_replaced_if_its_step_must_not_run_twice(on_loss: OnLoss, code: str) -> None:
    decision = decide_retry(paying_node(on_loss), "pay", ChildDiedError(-9), 1, None)

    assert (decision.error.code, decision.delay is None) == (code, on_loss == "fail")


@pytest.mark.parametrize(
    ("error", "code"),
    [(PermanentError("never", code="too_old"), "too_old"), (RetryableError("busy"), "step_failed")],
)
def test_an_error_that_the_author_raises_on_purpose_is_one_line_of_the_log(
    error: Exception, code: str
) -> None:
    try:
        raise error
    except HeadraceError:
        with capture_logs() as lines:
            log_failure(UUID(int=1), KEY, 2, judge(error, failures=2), error)

    (line,) = lines
    assert (line["event"], line["log_level"], line["step"], line["failures"]) == (
        "step_failed",
        "warning",
        KEY,
        2,
    )
    assert (line["error_code"], line["error"]) == (code, str(error))
    assert line.keys().isdisjoint({"exc_info", "exception", "stack"})
    assert ("retry_in_seconds" in line) == isinstance(error, RetryableError)
    rendered = structlog.dev.ConsoleRenderer(colors=False)(None, "warning", line)
    assert str(rendered).count("\n") == 0


def test_an_error_that_nobody_expected_has_its_traceback_below_the_line() -> None:
    error = ValueError("no")
    with capture_logs() as lines:
        log_failure(UUID(int=1), KEY, 1, judge(error), error)

    assert lines[0]["exc_info"][:2] == (ValueError, error)
