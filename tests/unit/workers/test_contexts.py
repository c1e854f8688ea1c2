"""The contexts of steps that run in the worker's own process."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest

from headrace.domain.pipelines.context import JobCancelledError, PermanentError
from headrace.domain.pipelines.definition import Pipeline, StepHandle, step
from headrace.workers.attempt.contexts import LoopContext, StepIdentity, ThreadContext
from headrace.workers.attempt.step_host import StepHost
from support.patience import PATIENCE_SECONDS
from support.scripted_child import FILE, RecordingHost


class Loudness(msgspec.Struct):
    lufs: float

    def __post_init__(self) -> None: ...


@step
async def measure(context: Any) -> Loudness:
    raise NotImplementedError


@step
async def master(context: Any, item: str) -> Loudness:
    raise NotImplementedError


PIPELINE = Pipeline("mastering", params=dict)
MEASURE = PIPELINE.add(measure)
MASTER = PIPELINE.add(master, for_each=list)


def new_host(**options: Any) -> RecordingHost:
    return RecordingHost(
        outputs={"measure": '{"lufs":-14}', "master": '[{"lufs":-14},{"lufs":-9}]'}, **options
    )


class Folder:
    """Counts how often its path is read."""

    def __init__(self) -> None:
        self.times = 0

    @property
    def path(self) -> Path:
        self.times += 1
        return Path("scratch")


def loop_context(host: RecordingHost, scratch: Folder | None = None) -> LoopContext:
    identity = StepIdentity(
        job_id=UUID(int=1),
        attempt=3,
        name="master",
        key="master[2]",
        params={"target": -14},
        scratch=scratch or Folder(),
    )
    return LoopContext(identity, PIPELINE, cast(StepHost, host))


def thread_context(inner: LoopContext) -> ThreadContext:
    return ThreadContext(inner, asyncio.get_running_loop())


async def called(kind: str, host: RecordingHost, call: Callable[[Any], Any]) -> Any:
    """Return the result of *call* in a step that runs in the loop or in a thread."""
    context = loop_context(host)
    if kind == "loop":
        return await call(context)
    return await asyncio.to_thread(call, thread_context(context))


both = pytest.mark.parametrize("kind", ["loop", "thread"])


@both
async def test_an_output_has_the_annotated_type_of_its_step(kind: str) -> None:
    assert await called(kind, new_host(), lambda context: context.output(MEASURE)) == Loudness(-14)


@both
async def test_the_outputs_of_a_step_with_items_are_a_list(kind: str) -> None:
    outputs = await called(kind, new_host(), lambda context: context.output(MASTER))

    assert outputs == [Loudness(-14), Loudness(-9)]


@pytest.mark.parametrize("handle", [MEASURE, MASTER], ids=["single", "many"])
@both
async def test_the_event_loop_goes_on_while_a_large_output_is_decoded(
    kind: str, handle: StepHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, has_turned = asyncio.get_running_loop(), threading.Event()

    def wait_for_loop(_decoded: Loudness) -> None:
        loop.call_soon_threadsafe(has_turned.set)
        assert has_turned.wait(PATIENCE_SECONDS)

    monkeypatch.setattr(Loudness, "__post_init__", wait_for_loop, raising=False)
    output = f'{{"lufs":-14,"note":"{"x" * 300_000}"}}'
    host = RecordingHost(outputs={"measure": output, "master": f"[{output},{output}]"})

    decoded = await called(kind, host, lambda context: context.output(handle))

    assert decoded in (Loudness(-14), [Loudness(-14), Loudness(-14)])


@pytest.mark.parametrize(
    ("call", "host_call"),
    [
        (lambda context: context.progress(1, 3), ("report", "master", "master[2]", 1, 3, None)),
        (
            lambda context: context.progress(1, 3, "first of three"),
            ("report", "master", "master[2]", 1, 3, "first of three"),
        ),
        (lambda context: context.log("hot"), ("log", "master[2]", "hot", "info", {})),
        (
            lambda context: context.log("hot", "warning", peak=0.5),
            ("log", "master[2]", "hot", "warning", {"peak": 0.5}),
        ),
        (
            lambda context: context.save_file("one.wav", bytearray(b"RIFF"), "audio/wav"),
            ("save_file", "master[2]", "one.wav", b"RIFF", "audio/wav"),
        ),
        (
            lambda context: context.save_file(Path("one.wav"), "mixes/one.wav", None),
            ("save_file", "master[2]", "one.wav", Path("mixes/one.wav"), "None"),
        ),
    ],
)
@both
async def test_calls_of_a_step_reach_the_host_with_its_key(
    kind: str, call: Callable[[Any], Any], host_call: tuple[Any, ...]
) -> None:
    host = new_host()

    await called(kind, host, call)

    assert host.calls == [host_call]
    assert host.threads == {threading.get_ident()}


@both
async def test_saving_a_file_returns_its_id(kind: str) -> None:
    assert await called(kind, new_host(), lambda context: context.save_file("a", b"", "text/plain")) == FILE


@both
async def test_an_invalid_file_does_not_reach_the_host(kind: str) -> None:
    host = new_host()

    with pytest.raises(TypeError):
        await called(kind, host, lambda context: context.save_file("a", 3, "text/plain"))

    assert host.calls == []


@both
async def test_a_file_is_opened_for_reading_bytes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "stored"
    path.write_bytes(b"RIFF")
    host = new_host(file=path)

    with await called(kind, host, lambda context: context.open_file(str(FILE))) as file:
        assert (file.read(), file.mode) == (b"RIFF", "rb")
    assert host.calls == [("file_path", str(FILE))]


@both
async def test_a_refusal_of_the_host_is_raised_in_the_step(kind: str) -> None:
    refusal = PermanentError("there is no such file", code="file_not_found")

    with pytest.raises(PermanentError) as caught:
        await called(kind, new_host(refusal=refusal), lambda context: context.open_file(FILE))

    assert caught.value is refusal


async def test_loop_and_thread_contexts_know_their_job() -> None:
    inner = loop_context(new_host())

    for context in (inner, thread_context(inner)):
        assert (context.params, context.job_id, context.attempt) == ({"target": -14}, UUID(int=1), 3)


async def test_a_scratch_folder_is_created_only_when_it_is_used() -> None:
    scratch = Folder()
    inner = loop_context(new_host(), scratch)
    outer = thread_context(inner)
    before = scratch.times

    assert (inner.scratch, outer.scratch) == (Path("scratch"), Path("scratch"))
    assert (before, scratch.times) == (0, 2)


async def test_a_loop_step_is_cancelled_once_it_must_stop() -> None:
    context = loop_context(new_host())
    await context.raise_if_cancelled()

    context.stopping = True

    with pytest.raises(JobCancelledError, match="the job is cancelled"):
        await context.raise_if_cancelled()


@pytest.mark.parametrize("how", ["stopping", "closed"])
async def test_a_thread_step_is_cancelled_once_it_must_stop_or_is_abandoned(how: str) -> None:
    inner = loop_context(new_host())
    context = thread_context(inner)
    context.raise_if_cancelled()

    if how == "stopping":
        inner.stopping = True
    else:
        context.closed.set()

    with pytest.raises(JobCancelledError):
        context.raise_if_cancelled()


@pytest.mark.parametrize(
    "call",
    [
        lambda context: context.output(MEASURE),
        lambda context: context.progress(1, 3),
        lambda context: context.log("hot"),
        lambda context: context.save_file("a", b"", "text/plain"),
        lambda context: context.open_file(FILE),
    ],
)
async def test_calls_of_an_abandoned_thread_are_refused(call: Callable[[ThreadContext], Any]) -> None:
    host = new_host()
    context = thread_context(loop_context(host))
    context.closed.set()

    with pytest.raises(JobCancelledError):
        await asyncio.to_thread(call, context)

    assert host.calls == []


async def test_a_thread_that_must_stop_can_still_log() -> None:
    host = new_host()
    inner = loop_context(host)
    inner.stopping = True

    await asyncio.to_thread(thread_context(inner).log, "leaving")

    assert host.calls == [("log", "master[2]", "leaving", "info", {})]
