"""The lines of steps: how printed text becomes lines, and which of them are in the job's log."""

import io
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from headrace.domain.events.types import MAX_LOG_EVENTS
from headrace.workers.step_output import CURRENT_LOG, JobLogHandler, StepLog, StepOutput, captured_output
from support.patience import PATIENCE_SECONDS


class Sent(list[tuple[str, str, dict[str, Any]]]):
    """What was appended to the job's log."""

    def __call__(self, message: str, level: str, fields: Mapping[str, Any]) -> None:
        self.append((message, level, dict(fields)))

    @property
    def messages(self) -> list[str]:
        return [message for message, _, _ in self]


@pytest.fixture
def sent() -> Iterator[Sent]:
    sent = Sent()
    token = CURRENT_LOG.set(StepLog(sent, "info"))
    yield sent
    CURRENT_LOG.reset(token)


@pytest.mark.parametrize(
    ("texts", "lines"),
    [
        (["a line\n"], ["a line"]),
        (["a ", "line", "\n"], ["a line"]),
        (["one\ntwo\nthr", "ee\n"], ["one", "two", "three"]),
        (["\n", "  \n"], []),
        (["10 %\r", "50 %\r", "100 %\n"], ["100 %"]),
        (["windows\r\n"], ["windows"]),
        (["no end"], ["no end"]),
        (["x" * 9_000, "y\n"], ["x" * 9_000, "y"]),
    ],
)
def test_printed_text_becomes_lines(texts: list[str], lines: list[str]) -> None:
    sent = Sent()
    log = StepLog(sent, "info")

    with log:
        for text in texts:
            log.write("stdout", text)

    assert sent.messages == lines


def test_output_and_errors_are_separate_lines(sent: Sent) -> None:
    output, errors = StepOutput(None, "stdout"), StepOutput(None, "stderr")

    output.write("half ")
    errors.write("an error\n")
    output.writelines(["a line", "\n"])

    assert sent.messages == ["an error", "half a line"]


def test_the_workers_log_has_as_many_lines_as_a_job_may_have(sent: Sent) -> None:
    log = StepLog(sent, "off")

    with capture_logs() as lines:
        for _ in range(MAX_LOG_EVENTS + 5):
            log.write("stdout", "again\n")

    assert [line["event"] for line in lines[-2:]] == ["again", "more_lines_dropped"]
    assert len(lines) == MAX_LOG_EVENTS + 1
    assert sent == []


@pytest.mark.parametrize(
    ("level", "name"),
    [(5, "debug"), (10, "debug"), (25, "info"), (30, "warning"), (50, "error"), (200, "error")],
)
def test_levels_of_logging_become_ours(level: int, name: str) -> None:
    sent = Sent()

    StepLog(sent, "debug").log("text", max(level, 10), {})

    assert sent[0][1] == name


def test_records_have_their_logger_their_fields_and_their_error(sent: Sent) -> None:
    handler = JobLogHandler("info")
    try:
        int("no number")
    except ValueError:
        failed = logging.LogRecord("acme", 40, "f.py", 1, "failed %d", (3,), sys.exc_info())
    structured = logging.makeLogRecord(
        {"name": "acme", "levelno": 20, "msg": {"event": "saved", "rows": 3, "level": "info", "_record": 1}}
    )

    handler.handle(failed)
    handler.handle(structured)
    handler.handle(logging.makeLogRecord({"name": "headrace.workers.main", "levelno": 40, "msg": "ours"}))

    assert sent[0][0].startswith("failed 3\nTraceback")
    assert sent[0][2] == {"logger": "acme"}
    assert sent[1] == ("saved", "info", {"logger": "acme", "rows": 3})
    assert len(sent) == 2


def test_text_of_no_step_goes_to_the_original_stream_even_if_that_is_closed() -> None:
    original = io.StringIO()
    output = StepOutput(original, "stdout")

    output.write("of the service")
    assert original.getvalue() == "of the service"
    original.close()
    output.write("lost")
    output.flush()
    StepOutput(None, "stdout").flush()


def test_streams_and_levels_are_restored(sent: Sent) -> None:
    streams, level, handlers = (
        (sys.stdout, sys.stderr),
        logging.getLogger().level,
        logging.getLogger().handlers[:],
    )

    with captured_output("debug"):
        print("within")  # noqa: T201
        assert logging.getLogger().level == logging.DEBUG

    assert sent.messages == ["within"]
    assert (sys.stdout, sys.stderr) == streams
    assert (logging.getLogger().level, logging.getLogger().handlers) == (level, handlers)


PRINTS_WHERE_THE_LOG_PRINTS = """
import structlog
from headrace.workers.step_output import CURRENT_LOG, StepLog, captured_output

structlog.configure(logger_factory=structlog.PrintLoggerFactory())
lines = []
CURRENT_LOG.set(StepLog(lambda message, level, fields: lines.append(message), "info"))
with captured_output("info"):
    print("a line")
    structlog.get_logger().info("another")
CURRENT_LOG.set(None)
print(len(lines), lines[0])
"""


def test_a_step_prints_where_its_code_lets_loggers_print() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PRINTS_WHERE_THE_LOG_PRINTS],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )

    assert ran.stdout == "2 a line\n"
