"""`headrace.testing.run`: a pipeline in memory behaves as in a worker, at once and without servers."""

import asyncio
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypedDict
from uuid import UUID, uuid4

import attrs
import msgspec
import pytest
import structlog
from msgspec import Struct
from pydantic import BaseModel

from headrace import PermanentError, Pipeline, RetryableError, StepContext, step, task
from headrace.domain.pipelines.definition import RunsIn
from headrace.testing import JobError, LogEntry, ParamsError, ProgressReport, run
from support.patience import PATIENCE_SECONDS


class Params(Struct, forbid_unknown_fields=True):
    words: list[str]


class Count(BaseModel):
    word: str
    letters: int


@step(runs_in="process")
def count(context: StepContext[Params], word: str) -> Count:
    context.progress(1, 2, word)
    return Count(word=word, letters=len(word))


@step
async def total(context: StepContext[Params]) -> int:
    counts: list[Count] = await context.output(counting)
    await context.log(f"{len(counts)} words", level="debug", counted=True)
    return sum(item.letters for item in counts)


@step
def report(context: StepContext[Params]) -> str:
    text = f"{context.output(summing)} letters"
    (context.scratch / "report.txt").write_text(text)
    context.save_file("report.txt", context.scratch / "report.txt", "text/plain")
    return text


word_count = Pipeline("word_count", params=Params)
counting = word_count.add(count, for_each=lambda params: params.words)
summing = word_count.add(total)
word_count.add(report, result=True)


def test_a_run_shows_each_step_with_its_item_and_output_in_order() -> None:
    job = run(word_count, {"words": ["one", "three"]})

    assert (job.state, job.result, job.error) == ("succeeded", "8 letters", None)
    assert [(run.key, run.index, run.item, run.output, run.tries, run.state) for run in job.steps] == [
        ("count[0]", 0, "one", Count(word="one", letters=3), 1, "succeeded"),
        ("count[1]", 1, "three", Count(word="three", letters=5), 1, "succeeded"),
        ("total", None, None, 8, 1, "succeeded"),
        ("report", None, None, "8 letters", 1, "succeeded"),
    ]
    assert job.logs == [LogEntry(step="total", level="debug", message="2 words", fields={"counted": True})]
    assert sorted(job.progress, key=lambda report: report.step) == [
        ProgressReport(step="count[0]", done=1, total=2, message="one"),
        ProgressReport(step="count[1]", done=1, total=2, message="three"),
    ]
    saved = job.file("report.txt")
    assert (saved.step, saved.media_type, saved.content) == ("report", "text/plain", b"8 letters")
    assert job.step("total").output == 8


def test_params_are_an_object_or_json_values() -> None:
    assert run(word_count, Params(["a"])).result == "1 letters"
    assert run(word_count, {"words": []}).result == "0 letters"


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"words": [1]}, r'\$\.words\[0\]: 1 is not of type "string"'),
        ({"words": [], "more": 1}, r'\$\.more: there is no field "more"'),
        (None, '"words" is a required property'),
        ([1], 'is not of type "object"'),
    ],
)
def test_params_that_the_api_would_refuse_are_an_error(params: Any, fault: str) -> None:
    with pytest.raises(ParamsError, match=fault):
        run(word_count, params)


def failing(error: Exception, *, times: int, retries: int = 3) -> tuple[Pipeline, list[int]]:
    """Return a pipeline whose step fails that often, and the attempts of its tries."""
    tries: list[int] = []

    @task(name="failing", retries=retries)
    async def fail(context: StepContext) -> int:
        tries.append(context.attempt)
        if len(tries) <= times:
            raise error
        return len(tries)

    return fail, tries


def test_a_step_is_retried_at_once_however_long_its_pause() -> None:
    pipeline, tries = failing(RetryableError("busy", retry_after=timedelta(days=365)), times=3)
    job = run(pipeline)

    assert (job.state, job.result, tries) == ("succeeded", 4, [1, 1, 1, 1])
    (made,) = job.steps
    assert (made.tries, made.output) == (4, 4)
    assert made.errors == [JobError(code="step_failed", message="busy", step="failing")] * 3


@pytest.mark.parametrize(
    ("error", "options", "tries", "code"),
    [
        (ValueError("odd"), {}, 4, "step_failed"),
        (ValueError("odd"), {"max_attempts": 2}, 2, "step_failed"),
        (PermanentError("never", code="own_code"), {}, 1, "own_code"),
        (RetryableError("later", retry_after=timedelta(days=5_000)), {}, 1, "retry_after_invalid"),
    ],
)
def test_a_step_that_goes_on_failing_fails_the_job_after_its_tries(
    error: Exception, options: dict[str, Any], tries: int, code: str
) -> None:
    pipeline, _ = failing(error, times=9)
    job = run(pipeline, **options)

    assert (job.state, job.result) == ("failed", None)
    assert job.error is not None
    assert (job.error.code, job.error.step, job.steps[0].tries) == (code, "failing", tries)
    assert len(job.steps[0].errors) == tries


def test_an_output_that_is_not_what_its_annotation_says_fails_the_job() -> None:
    @task
    async def lie(a: int = 1) -> list[Count]:
        return [Count(word="a", letters=a), {"word": "b", "letters": "many"}]  # type: ignore[list-item]

    job = run(lie)

    assert job.error == JobError(
        code="output_mismatch",
        message="the output of step 'lie' is not what its annotation says: Input should be a valid integer,"
        " unable to parse string as an integer, got `str` - at `$[1].letters`",
        step="lie",
    )
    assert job.steps[0].tries == 1


def test_limits_of_outputs_hold() -> None:
    @task
    def shout() -> str:
        return "a" * 300_000

    job = run(shout)
    assert job.error is not None
    assert job.error.code == "output_too_large"


def test_a_large_result_is_the_output_of_its_step() -> None:
    @task
    def shout() -> str:
        return "a" * 200_000

    assert run(shout).result == "a" * 200_000


@pytest.mark.parametrize("content", [b"12345", "path"])
def test_steps_open_the_files_of_the_test_and_no_others(content: bytes | str, tmp_path: Path) -> None:
    source: bytes | Path = content if isinstance(content, bytes) else tmp_path / "upload"
    if isinstance(source, Path):
        source.write_bytes(b"12345")

    @task
    def size(context: StepContext, upload: UUID) -> int:
        with context.open_file(upload) as file:
            return len(file.read())

    upload = uuid4()
    assert run(size, {"upload": upload}, files={upload: source}).result == 5
    missing = run(size, {"upload": uuid4()}, files={str(upload): source})
    assert missing.error is not None
    assert missing.error.code == "file_not_found"


def test_steps_of_all_kinds_run_in_this_process() -> None:
    threads: dict[str, str] = {}

    def note(name: str) -> None:
        threads[name] = threading.current_thread().name

    @step
    async def loop(context: StepContext) -> None:
        note("loop")

    @step
    def thread(context: StepContext) -> None:
        note("thread")

    @step(runs_in="process")
    def process(context: StepContext) -> None:
        note("process")

    pipeline = Pipeline("kinds", params=dict)
    for added in (loop, thread, process):
        pipeline.add(added, after=())
    assert run(pipeline).state == "succeeded"
    assert threads.keys() == {"loop", "thread", "process"}
    assert pipeline.nodes["process"].step.runs_in == "process"


@dataclass
class Spot:
    x: int
    size: Params | None = None


class Labelled(TypedDict):
    label: str
    spots: list[Spot]


@attrs.define
class Wheel:
    spokes: int
    labels: dict[str, Labelled] = attrs.Factory(dict)


class Turn(NamedTuple):
    wheel: Wheel
    degrees: float


LABELLED = Labelled(label="a", spots=[Spot(1), Spot(2, Params(["b"]))])


@pytest.mark.parametrize(
    ("shape", "value", "wrong", "reason"),
    [
        (Spot, Spot(1, Params(["a"])), Spot("x"), "Expected `int`, got `str` - at `$.x`"),  # type: ignore[arg-type]
        (Labelled, LABELLED, {"label": "a"}, "Object missing required field `spots`"),
        (Wheel, Wheel(3, {"a": LABELLED}), Wheel(2.5), "Expected `int`, got `float` - at `$.spokes`"),  # type: ignore[arg-type]
        (Turn, Turn(Wheel(3), 0.5), Turn(Wheel(3), "a"), "Expected `float`, got `str` - at `$[1]`"),  # type: ignore[arg-type]
        (Count, Count(word="a", letters=1), {"word": "a"}, "Field required - at `$.letters`"),
    ],
    ids=["dataclass", "TypedDict", "attrs", "named tuple", "pydantic"],
)
@pytest.mark.parametrize("runs_in", ["loop", "thread", "process"])
def test_every_kind_of_type_goes_through_every_kind_of_step(
    runs_in: RunsIn, shape: Any, value: Any, wrong: Any, reason: str
) -> None:
    returned = value

    def pass_on(context: StepContext, item: Any) -> Any:
        assert item == value
        return returned

    async def pass_on_in_loop(context: StepContext, item: Any) -> Any:
        return pass_on(context, item)

    function = pass_on_in_loop if runs_in == "loop" else pass_on
    function.__annotations__ = {"item": shape, "return": shape}
    pipeline = Pipeline("passing", params=msgspec.defstruct("Holder", [("value", shape)]))
    pipeline.add(
        step(runs_in=runs_in)(function), name="pass_on", for_each=lambda params: [params.value], result=True
    )
    job = run(pipeline, {"value": value})
    returned = wrong
    refused = run(pipeline, {"value": value})

    assert job.result == [value], job.error
    assert type(job.result[0]) is type(value)
    assert refused.error is not None
    assert (refused.error.code, refused.error.step) == ("output_mismatch", "pass_on[0]")
    message = "the output of step 'pass_on[0]' is not what its annotation says: "
    assert refused.error.message == message + reason


async def test_it_runs_where_a_loop_is_running() -> None:
    await asyncio.sleep(0)
    assert run(word_count, {"words": ["one"]}).result == "3 letters"


def test_a_try_that_takes_too_long_is_stopped() -> None:
    @task(timeout=timedelta(seconds=0.05), retries=1, grace=timedelta(0))
    async def dream() -> None:
        await asyncio.sleep(60)

    job = run(dream)
    assert job.error is not None
    assert (job.error.code, job.steps[0].tries) == ("step_timeout", 2)


def test_the_traceback_of_an_unexpected_error_is_logged_in_plain_text() -> None:
    program = (
        "from headrace import task; from headrace.testing import run\n"
        "@task(retries=0)\ndef divide(by: int) -> float:\n    return 1 / by\n"
        "print(run(divide, {'by': 0}).error.message)"
    )
    # In this process, structlog may be configured already.
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "ZeroDivisionError: division by zero\n"
    assert ran.stderr.startswith("step_failed ")
    assert ran.stderr.endswith("\nZeroDivisionError: division by zero\n")


def test_a_missing_step_or_file_is_an_error_that_names_the_others() -> None:
    job = run(word_count, {"words": []})
    with pytest.raises(LookupError, match="there is no step 'count'; there are: total, report"):
        job.step("count")
    with pytest.raises(LookupError, match=r"there is no file 'a'; there are: report.txt"):
        job.file("a")


def test_a_cancelled_neighbour_is_shown_as_cancelled() -> None:
    @step
    async def wait(context: StepContext) -> None:
        await asyncio.sleep(60)

    @step(retries=0)
    async def fail(context: StepContext) -> None:
        await asyncio.sleep(0.01)
        raise ValueError

    pipeline = Pipeline("both", params=dict)
    pipeline.add(wait)
    pipeline.add(fail, after=())
    states = {made.key: made.state for made in run(pipeline).steps}
    assert states == {"wait": "cancelled", "fail": "failed"}


@step
async def talk_in_the_loop(context: StepContext[Params]) -> None:
    print("one\ntwo", end="")  # noqa: T201  (what steps do)
    logging.getLogger("library").warning("careful")
    logging.getLogger("library").debug("detail")
    await context.log("three", number=3)


@step
def talk_in_a_thread(context: StepContext[Params]) -> None:
    print("four")  # noqa: T201
    structlog.get_logger("own").info("five", number=5)
    context.log("six")


talkative = Pipeline("talkative", params=Params)
talkative.add(talk_in_the_loop)
talkative.add(talk_in_a_thread)


def test_what_steps_print_and_log_is_in_the_log_of_the_job_as_on_a_worker() -> None:
    job = run(talkative, {"words": []})

    assert job.state == "succeeded", job.error
    assert [(line.step, line.level, line.message) for line in job.logs] == [
        ("talk_in_the_loop", "info", "one"),
        ("talk_in_the_loop", "warning", "careful"),
        ("talk_in_the_loop", "info", "three"),
        ("talk_in_the_loop", "info", "two"),
        ("talk_in_a_thread", "info", "four"),
        ("talk_in_a_thread", "info", "five"),
        ("talk_in_a_thread", "info", "six"),
    ]


def test_runs_side_by_side_leave_the_streams_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    streams, level = (sys.stdout, sys.stderr), root.level
    both_run = threading.Barrier(2)

    @task
    def meet(first: bool) -> None:
        both_run.wait(PATIENCE_SECONDS)
        print("first" if first else "second")  # noqa: T201

    with ThreadPoolExecutor(2) as threads:
        jobs = list(threads.map(lambda first: run(meet, {"first": first}), (True, False)))

    assert [[line.message for line in job.logs] for job in jobs] == [["first"], ["second"]]
    root.removeHandler(handler)
    assert ((sys.stdout, sys.stderr), root.level, handler.level) == (streams, level, logging.NOTSET)
    print("after")  # noqa: T201
    assert capsys.readouterr().out == "after\n"


def test_a_capture_that_fails_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = (structlog.get_config(), list(logging.getLogger().handlers), sys.stdout)

    def fail(_level: str) -> ExitStack:
        raise LookupError("no output can be captured")

    with monkeypatch.context() as patch:
        patch.setattr("headrace.testing.shared_capture.captured_output", fail)
        with pytest.raises(LookupError, match="no output"):
            run(word_count, Params(words=["river"]))

    assert (structlog.get_config(), list(logging.getLogger().handlers), sys.stdout) == before
    assert run(word_count, Params(words=["river"])).state == "succeeded"


def test_a_warning_of_a_step_is_printed_once_where_no_handler_is() -> None:
    program = (
        "import logging; from headrace import task; from headrace.testing import run\n"
        "@task\ndef warn() -> None:\n    logging.warning('careful')\n"
        "print([line.message for line in run(warn).logs])"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert (ran.stdout, ran.stderr) == ("['careful']\n", "careful\n")


PRINTS_AND_LOGS = """
import logging, structlog
from headrace import task
from headrace.testing import run

structlog.configure(processors=[structlog.processors.KeyValueRenderer()], cache_logger_on_first_use=True)
before = structlog.get_config()
log = structlog.get_logger()

@task
def talk():
    print("printed")
    logging.getLogger("library").warning("logged")
    log.info("structured")

print([line.message for line in run(talk).logs], structlog.get_config() == before)
log.info("after")
"""


def test_steps_print_and_log_where_the_loggers_of_the_project_print() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PRINTS_AND_LOGS],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )

    assert ran.stdout == "['printed', 'logged', 'structured'] True\nevent='after'\n"
