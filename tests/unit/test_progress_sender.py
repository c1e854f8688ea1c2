"""Progress frames are throttled where they are sent, and the last one is always sent."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from headrace.domain.events.news import FrameSource, JobNews
from headrace.domain.events.types import Eta, Progress, ProgressFrame
from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.jobs.eta.estimator import EtaEstimator, StepTime
from headrace.domain.jobs.progress import JobProgress
from headrace.workers.attempt.outcome import AttemptStatus
from headrace.workers.attempt.progress_sender import ProgressSender
from support.patience import PATIENCE_SECONDS
from support.worker_builders import new_claim

ITEMS = 10_000
AT = datetime(2026, 1, 1, tzinfo=UTC)


class KeptFrames:
    """A publisher that records the frames."""

    def __init__(self) -> None:
        self.frames: list[ProgressFrame] = []
        self.second = asyncio.Event()

    def publish(self, news: Sequence[JobNews]) -> None:
        raise AssertionError(news)

    def publish_progress(self, job_id: UUID, frame: FrameSource) -> None:  # noqa: ARG002
        self.frames.append(frame())
        if len(self.frames) > 1:
            self.second.set()


def claim(estimator: EtaEstimator | None = None) -> Claim:
    return new_claim(pipeline="many", attempt=1, fence=1, eta_estimator=estimator)


def sender(
    publisher: KeptFrames, progress: JobProgress, estimator: EtaEstimator | None = None
) -> ProgressSender:
    """Return a sender with a fixed clock, so that a slow machine sends no extra frame."""
    return ProgressSender(claim(estimator), progress, publisher, AttemptStatus(2), clock=lambda: 1_000.0)


async def test_thousands_of_item_reports_make_two_small_frames() -> None:
    publisher, progress = KeptFrames(), JobProgress({"many": 1})
    progress.expand("many", ITEMS)
    sending = sender(publisher, progress)

    for index in range(ITEMS):
        sending.report("many", f"many[{index}]", Progress(done=1, total=1, message="done"))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await publisher.second.wait()
    sending.close()

    assert len(publisher.frames) == 2
    assert publisher.frames[-1].steps["many"].done == ITEMS
    assert len(msgspec.json.encode(publisher.frames[-1])) < 300


async def test_flushes_share_one_rate_limit_and_the_last_one_is_sent() -> None:
    publisher, progress = KeptFrames(), JobProgress({"many": 1})
    progress.expand("many", ITEMS)
    sending = sender(publisher, progress)

    for index in range(ITEMS):
        progress.finish("many", f"many[{index}]")
        sending.flush()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await publisher.second.wait()
    sending.close()

    assert [frame.steps["many"].done for frame in publisher.frames] == [1, ITEMS]
    assert sending.take_dirty()


async def test_a_frame_has_an_eta_if_the_step_times_are_known() -> None:
    publisher, progress = KeptFrames(), JobProgress({"many": 1})
    progress.expand("many", 10)
    estimator = EtaEstimator({"many": ()})
    sending = sender(publisher, progress, estimator)

    unknown: dict[str, Any] = msgspec.to_builtins(sending.frame(2))
    estimator.times = {"many": StepTime(samples=9, item=(1.0, 2.0), whole=(10.0, 20.0))}

    assert "eta" not in unknown
    assert sending.frame(2).eta == Eta(low_seconds=10, high_seconds=20)
