"""A step's file waits for a store that has failed, and is refused if the store works for others."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest

from headrace.adapters.blob_store import BlobStore, StoredBlob
from headrace.adapters.store_errors import StoreError, StoreFullError
from headrace.domain.pipelines.context import PermanentError
from headrace.workers.attempt.job_files import FileLimits, JobFiles
from headrace.workers.attempt.step_store import StepStore
from headrace.workers.attempt.step_waits import StepWaits
from headrace.workers.attempt.waiting import StopSignal
from support.virtual_time import in_virtual_time, running_loop
from support.worker_builders import new_claim

FILE, KEY = UUID(int=5), UUID(int=6)
FULL, AWAY = StoreFullError("No space left on device"), StoreError("Input/output error")
CONTENT = b"x" * 1234


class LoopTime:
    """Replaces the module `time`: the loop's clock is the only one."""

    def monotonic(self) -> float:
        return running_loop().time()


class FailingBlobs:
    """A store whose calls fail with these errors, one after another, until none is left."""

    def __init__(
        self, errors: Iterator[StoreError], probe_errors: Iterator[StoreError] | None = None
    ) -> None:
        self.calls: list[str] = []
        self._errors = errors
        self._probe_errors = iter(()) if probe_errors is None else probe_errors

    def put(self, *_: Any) -> StoredBlob:
        self._call("put", self._errors)
        return StoredBlob(len(CONTENT), b"", KEY)

    def find(self, *_: Any) -> Path | None:
        self._call("find", self._errors)
        return Path("found")

    def probe(self, _has_files: bool) -> None:
        self._call("probe", self._probe_errors)

    def _call(self, name: str, errors: Iterator[StoreError]) -> None:
        self.calls.append(name)
        if (error := next(errors, None)) is not None:
            raise error


@pytest.fixture
def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def call(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr("headrace.workers.attempt.step_store.call_own", call)
    monkeypatch.setattr("headrace.workers.attempt.step_waits.time", LoopTime())


def store_on(blobs: Any, stop: StopSignal | None = None) -> tuple[StepStore, StepWaits]:
    waits = StepWaits()
    files = JobFiles(new_claim(fence=1), cast(Any, None), FileLimits(1 << 20))
    return StepStore(cast(BlobStore, blobs), files, waits, stop or StopSignal()), waits


def times(error: StoreError, count: int) -> Iterator[StoreError]:
    return iter([error] * count)


@pytest.mark.usefixtures("without_threads")
@in_virtual_time
async def test_a_file_is_written_again_only_once_a_small_one_can_be() -> None:
    blobs = FailingBlobs(times(FULL, 1), times(FULL, 40))
    store, _ = store_on(blobs)

    await store.put("a", FILE, "a.bin", CONTENT)

    assert blobs.calls == ["put", *["probe"] * 41, "put"]


@pytest.mark.usefixtures("without_threads")
@in_virtual_time
async def test_a_file_for_which_alone_there_is_no_room_is_refused_with_its_size() -> None:
    blobs = FailingBlobs(times(FULL, 1_000))
    store, _ = store_on(blobs)

    with pytest.raises(PermanentError, match=r"a\.bin: .* no room for its 1234 bytes") as refused:
        await store.put("a", FILE, "a.bin", CONTENT)

    assert refused.value.code == "storage_full"
    assert blobs.calls.count("put") == 4


@pytest.mark.usefixtures("without_threads")
@in_virtual_time
async def test_a_file_is_not_refused_that_fails_each_time_together_with_the_store() -> None:
    probe_errors = iter([FULL, None] * 10)
    blobs = FailingBlobs(times(FULL, 8), cast(Iterator[StoreError], probe_errors))
    store, _ = store_on(blobs)

    await store.put("a", FILE, "a.bin", CONTENT)

    assert blobs.calls.count("put") == 9


@pytest.mark.usefixtures("without_threads")
@in_virtual_time
async def test_a_file_that_cannot_be_read_from_a_store_that_works_is_refused() -> None:
    blobs = FailingBlobs(times(AWAY, 1_000))
    store, _ = store_on(blobs)

    with pytest.raises(PermanentError, match="Input/output error") as refused:
        await store.find("a", FILE, KEY)

    assert refused.value.code == "file_unreadable"
    assert blobs.calls.count("find") == 4


@pytest.mark.usefixtures("without_threads")
@in_virtual_time
async def test_a_read_waits_for_a_store_that_is_away() -> None:
    blobs = FailingBlobs(times(AWAY, 1), times(AWAY, 20))
    store, waits = store_on(blobs)
    reading = asyncio.create_task(store.find("a", FILE, KEY))
    await asyncio.sleep(5.0)
    trouble = waits.trouble_of("a")

    assert await reading == Path("found")
    assert (trouble, waits.trouble_of("a")) == (AWAY, None)
    assert blobs.calls.count("find") == 2


@pytest.mark.usefixtures("without_threads")
@pytest.mark.parametrize("name", ["find", "put"])
def test_the_error_is_raised_after_five_minutes(name: str) -> None:
    @in_virtual_time
    async def check() -> None:
        store, waits = store_on(FailingBlobs(times(AWAY, 1_000), times(AWAY, 1_000)))
        call = store.find("a", FILE, KEY) if name == "find" else store.put("a", FILE, "a.bin", CONTENT)

        with pytest.raises(StoreError):
            await call

        assert 300.0 <= running_loop().passed < 310.0
        assert waits.trouble_of("a") is None

    check()


@pytest.mark.usefixtures("without_threads")
@in_virtual_time
async def test_a_step_that_gives_up_waits_no_longer() -> None:
    store, waits = store_on(FailingBlobs(times(FULL, 1), times(FULL, 1_000)))

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(store.put("a", FILE, "a.bin", CONTENT), 1.0)

    assert waits.trouble_of("a") is None


@pytest.mark.usefixtures("without_threads")
@in_virtual_time
async def test_the_pause_of_a_file_that_fails_in_a_store_that_works_is_no_wait_for_it() -> None:
    store, waits = store_on(FailingBlobs(times(FULL, 1_000)))
    writing = asyncio.create_task(store.put("a", FILE, "a.bin", CONTENT))
    await asyncio.sleep(2.0)

    assert waits.trouble_of("a") is None
    with pytest.raises(PermanentError):
        await writing


@pytest.mark.usefixtures("without_threads")
@in_virtual_time
async def test_the_wait_ends_when_the_attempt_stops() -> None:
    stop = StopSignal()
    store, _ = store_on(FailingBlobs(times(FULL, 1), times(FULL, 1_000)), stop)
    writing = asyncio.create_task(store.put("a", FILE, "a.bin", CONTENT))
    await asyncio.sleep(1.0)
    stop.set()

    with pytest.raises(StoreFullError):
        await writing
    assert running_loop().passed == 1.0


async def test_the_store_is_read_in_threads(tmp_path: Path) -> None:
    threads: set[int] = set()

    class RecordingPath(type(tmp_path)):  # type: ignore[misc]  # the class depends on the system
        def exists(self, **options: Any) -> bool:
            threads.add(threading.get_ident())
            return bool(super().exists(**options))

    class RecordingBlobs(BlobStore):
        def find(self, file_id: UUID, key: UUID) -> Path | None:
            threads.add(threading.get_ident())
            return super().find(file_id, key)

        def path(self, file_id: UUID, key: UUID) -> Path:
            return RecordingPath(super().path(file_id, key))

    store, _ = store_on(RecordingBlobs(tmp_path, max_bytes=100))
    stored = await store.put("a", FILE, "a.bin", b"kept")

    assert (await store.find("a", FILE, stored.key)).read_bytes() == b"kept"
    assert await store.holds(FILE, stored.key)
    assert threads
    assert threading.get_ident() not in threads


def test_a_store_of_files_that_is_gone_does_not_pass_the_probe_of_a_reader(tmp_path: Path) -> None:
    gone = BlobStore(tmp_path / "gone", max_bytes=100)

    gone.probe(False)
    with pytest.raises(StoreError):
        gone.probe(True)
