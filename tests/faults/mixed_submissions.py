"""Submits jobs in all ways: with and without a key, in batches, from presets, and again."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from faults.mixed_client import MixedClient
from faults.mixed_sent import Sent, SentJob, SentSubmission

_RETRY_SECONDS: Final = 0.1
_WATCHED_SHARE: Final = 0.2


class Submissions:
    """The submissions of a load. *watch* starts to watch a job, and returns whether it does."""

    def __init__(self, client: MixedClient, sent: Sent, ledger: Path, watch: Callable[[str], bool]) -> None:
        self._client = client
        self._random = client.random_source
        self._sent = sent
        self._ledger = ledger
        self._watch = watch

    async def submit(self) -> None:
        await self._send(self._single("submit", None))

    async def submit_with_key(self) -> None:
        """Submit a job, and repeat the request until it is accepted."""
        submission = self._single("submit with a key", uuid4().hex)
        while not await self._send(submission):
            await asyncio.sleep(_RETRY_SECONDS)

    async def submit_batch(self) -> None:
        size = self._random.randint(2, 6)
        submission = SentSubmission(
            number=self._sent.next_number(), action="submit a batch", path="/jobs/batch", count=size
        )
        submission.body = {"jobs": [self._job(submission.number) for _ in range(size)]}
        submission.key = self._random.choice([None, uuid4().hex])
        await self._send(submission)

    async def run_preset(self) -> None:
        preset = self._client.pick([preset for preset in self._sent.presets.values() if preset.is_usable])
        if preset is not None:
            number = self._sent.next_number()
            path, body = f"/presets/{preset.id}/jobs", {"meta": {"submission": number}}
            await self._send(
                SentSubmission(number=number, action="run a preset", path=path, body=body, preset=preset)
            )

    async def repeat(self) -> None:
        """Send a submission again that has a key and was accepted."""
        submission = self._client.pick(
            [submission for submission in self._sent.submissions if submission.key and submission.response]
        )
        if submission is None:
            return
        action = "repeat a submission"
        response = await self._client.call(
            action, submission.path, json=submission.body, headers=submission.headers
        )
        if response is None:
            return
        may_be_gone = all(self._sent.jobs[job_id].deletes.sent for job_id in submission.job_ids)
        if self._client.expect(action, response, may_be_gone=may_be_gone):
            if response.content != submission.response:
                self._client.report(action, response, "differs from the first response")
            if response.headers.get("Idempotency-Replayed") != "true":
                self._client.report(action, response, "is not marked as a replay")

    def watch_perhaps(self, job: SentJob) -> None:
        """Watch some of the jobs."""
        if self._random.random() < _WATCHED_SHARE:
            job.is_watched = self._watch(job.id)

    def params(self) -> dict[str, Any]:
        """Return random parameters that fit both pipelines; some name an upload."""
        uploads = [upload for upload in self._sent.uploads.values() if not upload.deletes.sent]
        upload = self._client.pick(uploads) if self._random.random() < 0.2 else None
        return {
            "ledger": str(self._ledger),
            "items": self._random.randint(0, 4),
            "seconds": round(self._random.choice([0, 0.1, 0.3, 1.0]) * self._random.random(), 3),
            "fails": int(self._random.random() < 0.3),
            "upload": "" if upload is None else upload.id,
        }

    def _single(self, action: str, key: str | None) -> SentSubmission:
        number = self._sent.next_number()
        return SentSubmission(number=number, action=action, path="/jobs", body=self._job(number), key=key)

    def _job(self, number: int) -> dict[str, Any]:
        pipeline = "mixed_apart" if self._random.random() < 0.1 else "mixed"
        priority = self._random.randint(0, 9)
        return {
            "pipeline": pipeline,
            "params": self.params(),
            "priority": priority,
            "meta": {"submission": number},
        }

    async def _send(self, submission: SentSubmission) -> bool:
        """Send a submission, and return whether it was answered."""
        if submission.tries == 0:
            self._sent.submissions.append(submission)
        submission.tries += 1
        response = await self._client.call(
            submission.action, submission.path, json=submission.body, headers=submission.headers
        )
        if response is None:
            return False
        may_be_gone = submission.preset is not None and submission.preset.deletes.sent > 0
        if self._client.expect(submission.action, response, may_be_gone=may_be_gone):
            submission.response = response.content
            body = response.json()
            for accepted in body.get("items", [body]):
                job = SentJob(id=accepted["id"], fails=accepted["params"].get("fails", 0))
                self._sent.jobs[job.id] = job
                submission.job_ids.append(job.id)
                self.watch_perhaps(job)
        return True
