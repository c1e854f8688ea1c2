"""Progress frames: the exact moments at which they are sent, and their content."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import msgspec

from headrace.domain.events.news import FrameSource, JobNews
from headrace.domain.events.types import Progress, ProgressFrame
from headrace.domain.jobs.progress import JobProgress
from headrace.workers.attempt.outcome import AttemptStatus
from headrace.workers.attempt.progress_sender import ProgressSender
from support.virtual_time import in_virtual_time, running_loop
from support.worker_builders import new_claim


class RecordingPublisher:
    """A publisher that records the frames and their moments."""

    def __init__(self) -> None:
        self.frames: list[tuple[UUID, ProgressFrame]] = []
        self.moments: list[float] = []

    def publish(self, news: Sequence[JobNews]) -> None:
        raise AssertionError(news)

    def publish_progress(self, job_id: UUID, frame: FrameSource) -> None:
        self.frames.append((job_id, frame()))
        self.moments.append(running_loop().passed)

    @property
    def done(self) -> list[float]:
        """The progress of step `a` in each frame."""
        return [frame.steps["a"].done for _, frame in self.frames]


def new_sender() -> tuple[RecordingPublisher, ProgressSender]:
    publisher = RecordingPublisher()
    return publisher, ProgressSender(new_claim(), JobProgress({"a": 1, "b": 3}), publisher, AttemptStatus(4))


def report(sender: ProgressSender, done: float, step: str = "a") -> None:
    sender.report(step, step, Progress(done=done, total=10))


@in_virtual_time
async def test_the_first_report_is_sent_at_once_and_the_next_after_100_ms() -> None:
    publisher, sender = new_sender()

    report(sender, 1)
    await asyncio.sleep(0.025)
    report(sender, 2)
    await asyncio.sleep(0.0725)
    report(sender, 3)
    await asyncio.sleep(1)

    assert (publisher.moments, publisher.done) == ([0, 0.1], [1, 3])


@in_virtual_time
async def test_a_report_after_more_than_100_ms_is_sent_at_once() -> None:
    publisher, sender = new_sender()

    report(sender, 1)
    await asyncio.sleep(0.125)
    report(sender, 2)

    assert (publisher.moments, publisher.done) == ([0, 0.125], [1, 2])


@in_virtual_time
async def test_a_delayed_frame_is_also_followed_by_a_pause_of_100_ms() -> None:
    publisher, sender = new_sender()

    report(sender, 1)
    report(sender, 2)
    await asyncio.sleep(0.125)
    report(sender, 3)
    await asyncio.sleep(1)

    assert (publisher.moments, publisher.done) == ([0, 0.1, 0.2], [1, 2, 3])


@in_virtual_time
async def test_each_step_is_throttled_separately() -> None:
    publisher, sender = new_sender()

    report(sender, 1)
    await asyncio.sleep(0.05)
    report(sender, 1, "b")

    assert publisher.moments == [0, 0.05]


@in_virtual_time
async def test_a_flush_does_not_wait_for_reports() -> None:
    publisher, sender = new_sender()

    report(sender, 1)
    sender.flush()
    sender.flush()
    await asyncio.sleep(1)

    assert publisher.moments == [0, 0, 0.1]


@in_virtual_time
async def test_a_waiting_frame_is_not_sent_after_the_sender_is_closed() -> None:
    publisher, sender = new_sender()
    report(sender, 1)
    report(sender, 2)

    sender.close()
    sender.close()
    await asyncio.sleep(1)

    assert publisher.moments == [0]


@in_virtual_time
async def test_a_report_sets_the_dirty_flag_until_it_is_taken() -> None:
    _, sender = new_sender()
    before = sender.take_dirty()

    report(sender, 1)
    report(sender, 2)

    assert (before, sender.take_dirty(), sender.take_dirty()) == (False, True, False)


@in_virtual_time
async def test_the_newest_frame_is_sent_once_more_after_a_second_of_silence() -> None:
    publisher, sender = new_sender()

    report(sender, 1)
    await asyncio.sleep(0.75)
    sender.repeat()
    await asyncio.sleep(0.25)
    sender.repeat()
    await asyncio.sleep(5)
    sender.repeat()

    assert (publisher.moments, publisher.done) == ([0, 1], [1, 1])


@in_virtual_time
async def test_a_new_report_restarts_the_second_of_silence() -> None:
    publisher, sender = new_sender()

    report(sender, 1)
    await asyncio.sleep(1)
    sender.repeat()
    report(sender, 2)
    await asyncio.sleep(0.75)
    sender.repeat()
    await asyncio.sleep(0.25)
    sender.repeat()

    assert publisher.done == [1, 1, 2, 2]
    assert publisher.moments == [0, 1, 1, 2]


@in_virtual_time
async def test_nothing_is_repeated_before_the_first_report() -> None:
    publisher, sender = new_sender()
    await asyncio.sleep(5)

    sender.repeat()

    assert publisher.frames == []


@in_virtual_time
async def test_a_frame_contains_the_progress_of_the_attempt() -> None:
    publisher, sender = new_sender()

    report(sender, 5)

    assert publisher.frames == [
        (
            UUID(int=1),
            ProgressFrame(
                head=4,
                attempt=3,
                fence=7,
                fraction=0.125,
                steps={"a": Progress(done=5, total=10)},
                eta=msgspec.UNSET,
            ),
        )
    ]


@in_virtual_time
async def test_a_frame_does_not_change_after_it_was_made() -> None:
    _, sender = new_sender()
    report(sender, 1)
    frame = sender.frame(4)

    report(sender, 2)

    assert frame.steps == {"a": Progress(done=1, total=10)}
    sender.close()
