"""Steps in the event loop and in threads: where their items are decoded and their outputs encoded."""

import asyncio
import dataclasses
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, cast
from uuid import UUID

import msgspec
import pytest

from headrace.adapters.logs import RUNNING_JOB, RunningJob, add_running_job
from headrace.domain.json_limits import MAX_LOOP_CHARS
from headrace.domain.pipelines.definition import Pipeline, Step, step
from headrace.workers.attempt import executors
from headrace.workers.attempt.contexts import StepIdentity
from headrace.workers.attempt.executors import StepStoppedError, build_executor, run_step
from headrace.workers.attempt.step_host import StepHost
from headrace.workers.attempt.waiting import StopSignal
from headrace.workers.containment import StepLeftError
from headrace.workers.crash_record import CrashRecord, read_death
from headrace.workers.outputs import encode_output
from headrace.workers.value_sizes import is_small
from headrace.workers.values import OutputError, release_values
from support.patience import PATIENCE_SECONDS
from support.scripted_child import RecordingHost

LEASE = (UUID(int=7), 3)


class Note(msgspec.Struct):
    """Records where it is decoded, and which attempt would be blamed for it."""

    text: str
    on_decode: ClassVar[Callable[[], None]]

    def __post_init__(self) -> None:
        Note.on_decode()


@step
async def in_loop(context: Any, item: Note) -> list[str]:
    return [item.text]


@step
def in_thread(context: Any, item: Note) -> list[str]:
    return [item.text]


class Scene:
    """Runs steps as code of one attempt, and records the threads that decode notes, and who is to blame."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.record = CrashRecord(path, "w")
        self.decodings: list[tuple[bool, bool]] = []

    def on_decode(self) -> None:
        death = read_death(self._path)
        is_loop = threading.current_thread() is threading.main_thread()
        self.decodings.append((is_loop, death is not None and death.blamed == LEASE))

    async def run(
        self,
        plain: Step[..., Any],
        item: str | None = None,
        limit: int = 10_000_000,
        stop: StopSignal | None = None,
    ) -> str:
        pipeline = Pipeline("example", params=dict)
        handle = pipeline.add(plain, for_each=None if item is None else lambda _params: [])
        node = pipeline.nodes[handle.name]
        identity = StepIdentity(
            job_id=UUID(int=1), attempt=1, name=node.name, key=node.name, params={}, scratch=cast(Any, None)
        )
        host = cast(StepHost, RecordingHost())
        entry = self.record.enter(LEASE)
        entry.suspend()
        try:
            executor = build_executor(node, pipeline, identity, host, item, limit)
            return await run_step(executor, node, stop or StopSignal())
        finally:
            self.record.leave(entry)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "worker.crash")
    Note.on_decode = lambda: None
    yield scene
    del Note.on_decode


def names_of_a_log_line() -> dict[str, Any]:
    """Return what a log line of this context would name."""
    return dict(add_running_job(None, "info", {"event": "said"}))


@step
async def says_in_loop(context: Any) -> list[dict[str, Any]]:
    return [names_of_a_log_line(), await asyncio.to_thread(names_of_a_log_line)]


@step
def says_in_thread(context: Any) -> list[dict[str, Any]]:
    return [names_of_a_log_line()]


@pytest.mark.parametrize("plain", [says_in_loop, says_in_thread])
async def test_log_lines_of_a_step_name_its_job_its_key_and_its_attempt(
    scene: Scene, plain: Step[..., Any]
) -> None:
    token = RUNNING_JOB.set(RunningJob(UUID(int=1), "from-me", 1))
    try:
        lines = msgspec.json.decode(await scene.run(plain))
    finally:
        RUNNING_JOB.reset(token)

    names = {"job_id": str(UUID(int=1)), "request_id": "from-me", "step": plain.name, "attempt": 1}
    assert lines == [{**names, "event": "said"}] * len(lines)
    assert "step" not in names_of_a_log_line()


@pytest.mark.parametrize(("size", "is_loop"), [(1, True), (MAX_LOOP_CHARS + 1, False)])
async def test_a_large_output_of_a_loop_step_is_encoded_and_checked_in_a_thread(
    scene: Scene, size: int, is_loop: bool
) -> None:
    @step
    async def write(context: Any) -> Note:
        note = Note("x" * size)
        Note.on_decode = scene.on_decode
        return note

    assert len(await scene.run(write)) > size

    assert scene.decodings == [(is_loop, True)]


@pytest.mark.parametrize("plain", [in_loop, in_thread])
@pytest.mark.parametrize("size", [1, MAX_LOOP_CHARS + 1])
async def test_a_large_item_is_decoded_in_a_thread(scene: Scene, plain: Any, size: int) -> None:
    Note.on_decode = scene.on_decode

    await scene.run(plain, msgspec.json.encode({"text": "x" * size}).decode())

    assert scene.decodings == [(plain is in_loop and size == 1, True)]


async def test_a_large_output_that_is_refused_fails_the_step_as_a_small_one(scene: Scene) -> None:
    @step
    async def write(context: Any) -> list[Any]:
        return [0] * 100_000

    with pytest.raises(OutputError, match="has 200001 bytes as JSON, at most 5000 are stored"):
        await scene.run(write, limit=5_000)


@pytest.mark.parametrize("size", [1, MAX_LOOP_CHARS + 1])
async def test_an_output_whose_check_would_end_the_worker_fails_its_step(scene: Scene, size: int) -> None:
    def leave() -> None:
        raise SystemExit(3)

    @step
    async def write(context: Any) -> Note:
        note = Note("x" * size)
        Note.on_decode = leave
        return note

    with pytest.raises(StepLeftError, match="SystemExit: 3"):
        await scene.run(write)


@dataclasses.dataclass
class Take:
    name: str


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 3, 2.5, "x" * MAX_LOOP_CHARS, b"x" * MAX_LOOP_CHARS, [], {}, object(), 10**40),
        *([0] * 1_000, dict.fromkeys(map(str, range(500))), {"x": ["y"] * 998}, Take("x" * MAX_LOOP_CHARS)),
        *(msgspec.Raw(b"x" * MAX_LOOP_CHARS), memoryview(b"x" * MAX_LOOP_CHARS)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_with_few_parts_and_short_texts_is_small(value: Any) -> None:
    assert is_small(value)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "x" * (MAX_LOOP_CHARS + 1),
            bytearray(MAX_LOOP_CHARS + 1),
            memoryview(bytes(8 * MAX_LOOP_CHARS)).cast("d"),
        ),
        *([0] * 1_001, {0: [[{"x": tuple(range(1_000))}]]}, dict.fromkeys(map(str, range(501)))),
        *(set(range(1_001)), ["x" * 300] * 900, Take("x" * (MAX_LOOP_CHARS + 1)), [[]] * 1_001),
        *({"x" * (MAX_LOOP_CHARS + 1): 1}, msgspec.Raw(b"x" * (MAX_LOOP_CHARS + 1))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_with_many_parts_or_long_texts_is_not_small(value: Any) -> None:
    assert not is_small(value)


def test_the_size_of_a_value_that_contains_itself_is_found() -> None:
    one: list[Any] = []
    one.append(one)
    two: list[Any] = []
    two += [two, two]

    assert is_small(one)
    assert not is_small(two)


async def test_a_stop_during_the_encoding_ends_the_try(scene: Scene) -> None:
    """The thread goes on with an object that nothing else uses any more."""
    encodes, may_end = threading.Event(), threading.Event()

    def block() -> None:
        encodes.set()
        may_end.wait(PATIENCE_SECONDS)

    @step
    async def write(context: Any) -> Note:
        note = Note("x" * (MAX_LOOP_CHARS + 1))
        Note.on_decode = block
        return note

    running = asyncio.create_task(scene.run(write))
    await asyncio.to_thread(encodes.wait, PATIENCE_SECONDS)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, PATIENCE_SECONDS)
    may_end.set()


class Held(msgspec.Struct):
    """Blocks the thread that decodes it, until it is let go."""

    text: str
    entered: ClassVar[threading.Event]
    let_go: ClassVar[threading.Event]

    def __post_init__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            Held.entered.set()
            Held.let_go.wait(PATIENCE_SECONDS)


@pytest.fixture
def held() -> Iterator[None]:
    Held.entered, Held.let_go = threading.Event(), threading.Event()
    yield
    Held.let_go.set()


@step(grace=timedelta(seconds=600))
async def return_held(context: Any) -> Held:
    return Held("x" * (MAX_LOOP_CHARS + 1))


@step(timeout=timedelta(seconds=0.05), grace=timedelta(seconds=0.05))
async def return_held_in_time(context: Any) -> Held:
    return Held("x" * (MAX_LOOP_CHARS + 1))


@pytest.mark.usefixtures("held")
async def test_an_output_counts_although_the_attempt_is_stopped_while_it_is_encoded(scene: Scene) -> None:
    stop = StopSignal()
    running = asyncio.create_task(scene.run(return_held, stop=stop))
    assert await asyncio.to_thread(Held.entered.wait, PATIENCE_SECONDS)
    stop.set()
    await asyncio.sleep(0.3)  # longer than a coroutine has until it is cancelled
    Held.let_go.set()

    assert len(await running) > MAX_LOOP_CHARS


@pytest.mark.usefixtures("held")
async def test_a_thread_that_still_encodes_when_the_step_is_out_of_time_counts_as_abandoned(
    scene: Scene,
) -> None:
    with pytest.raises(StepStoppedError) as stopped:
        await scene.run(return_held_in_time)

    assert Held.entered.is_set()
    assert stopped.value.reason == "timeout"
    assert stopped.value.abandoned is not None
    assert not stopped.value.abandoned.done()
    Held.let_go.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await stopped.value.abandoned


async def test_an_output_that_another_coroutine_changes_meanwhile_does_not_fail(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = list(range(2_000))
    encodings: list[bool] = []

    def encode(*arguments: Any) -> str:
        encodings.append(threading.current_thread() is threading.main_thread())
        output = encode_output(*arguments)
        if len(encodings) < 3:
            raise RuntimeError("list changed size during iteration")
        return output

    monkeypatch.setattr(executors, "encode_output", encode)

    @step
    async def share(context: Any) -> list[int]:
        return shared

    assert msgspec.json.decode(await scene.run(share)) == shared
    assert encodings == [False, False, False]


class Unread:
    """Has no form in JSON, and records the threads in which that is tried."""

    in_loop: ClassVar[list[bool]] = []

    @property
    def ndim(self) -> int:
        Unread.in_loop.append(threading.current_thread() is threading.main_thread())
        raise AttributeError


@pytest.mark.parametrize("count", [2_000, 400_000])
async def test_a_large_output_without_a_form_in_json_is_refused_once_and_in_a_thread(
    scene: Scene, count: int
) -> None:
    Unread.in_loop.clear()

    @step
    async def write(context: Any) -> list[Any]:
        return [1] * count + [Unread()]

    with pytest.raises(OutputError, match="Unread is no JSON value") as caught:
        await scene.run(write)

    assert caught.value.code == "output_invalid"
    assert Unread.in_loop
    assert not any(Unread.in_loop)
    place = f"at `$[{count}]`" if count == 2_000 else "not in its first 100000 parts"
    assert str(caught.value).endswith(f"- {place}")


class Heavy(list[str]):
    """A value that tells when it is freed."""


made: list[weakref.ref[Heavy]] = []


def make_heavy() -> Heavy:
    heavy = Heavy(["x" * 1000] * 400)
    made.append(weakref.ref(heavy))
    return heavy


@step
async def heavy_in_loop(context: Any) -> list[str]:
    return make_heavy()


@step
def heavy_in_thread(context: Any) -> list[str]:
    return make_heavy()


@pytest.mark.parametrize("plain", [heavy_in_loop, heavy_in_thread])
async def test_a_value_that_is_refused_is_freed_without_the_cycle_collector(
    scene: Scene, plain: Step[..., Any]
) -> None:
    made.clear()
    gc.disable()
    try:
        try:
            await scene.run(plain, limit=1_000)
        except OutputError as error:
            release_values(error)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while made[0]() is not None:
                await asyncio.sleep(0.01)
    finally:
        gc.enable()


async def test_large_outputs_are_encoded_one_after_another(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, most = 0, 0

    def watch(*arguments: Any) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return encode_output(*arguments)
        finally:
            running -= 1

    monkeypatch.setattr(executors, "encode_output", watch)

    await asyncio.gather(*(scene.run(heavy_in_loop) for _ in range(5)))

    assert most == 1
