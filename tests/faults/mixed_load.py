"""Clients that call the REST API with all its verbs, chosen at random, and keep what was acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from faults.mixed_client import MixedClient
from faults.mixed_sent import Sent, SentJob, SentPreset, SentUpload, upload_content
from faults.mixed_submissions import Submissions

_CLIENTS: Final = 6
_RECENT_JOBS: Final = 12
_TAGS: Final = 20


class MixedLoad:
    """Sends random requests. *watch* starts to watch a job, and returns whether it does."""

    def __init__(self, client: MixedClient, ledger: Path, watch: Callable[[str], bool]) -> None:
        self.sent = Sent()
        self._client = client
        self._submissions = Submissions(client, self.sent, ledger, watch)
        self._weights = {
            self._submissions.submit: 6,
            self._submissions.submit_with_key: 4,
            self._submissions.submit_batch: 2,
            self._submissions.repeat: 2,
            self._submissions.run_preset: 2,
            self._cancel: 3,
            self._retry: 4,
            self._delete: 3,
            self._patch: 3,
            self._create_preset: 2,
            self._delete_preset: 1,
            self._upload: 2,
            self._download: 2,
            self._delete_upload: 1,
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send requests while the block runs. Requests that are under way at its end are finished."""
        is_over = False

        async def send_requests() -> None:
            while not is_over:
                (action,) = self._client.random_source.choices([*self._weights], [*self._weights.values()])
                await action()
                await asyncio.sleep(self._client.random_source.uniform(0.02, 0.2))

        async with asyncio.TaskGroup() as group:
            for _ in range(_CLIENTS):
                group.create_task(send_requests())
            try:
                yield
            finally:
                is_over = True

    async def _cancel(self) -> None:
        job = self._client.pick([*self.sent.jobs.values()][-_RECENT_JOBS:])
        if job is not None:
            await self._client.change("cancel", f"/jobs/{job.id}/cancel", job.cancels, job.deletes)

    async def _retry(self) -> None:
        """Retry a job that may have failed, and perhaps watch it from then on."""
        job = self._client.pick([job for job in self._changeable_jobs() if job.fails])
        if job is None:
            return
        with _holding(job):
            if await self._client.change("retry", f"/jobs/{job.id}/retry", job.retries, job.deletes):
                self._submissions.watch_perhaps(job)

    async def _delete(self) -> None:
        job = self._client.pick(self._changeable_jobs())
        if job is not None:
            with _holding(job):
                await self._client.change("delete", f"/jobs/{job.id}", job.deletes, job.deletes)

    async def _patch(self) -> None:
        job = self._client.pick([job for job in self.sent.jobs.values() if not job.is_held])
        if job is None:
            return
        number = self.sent.next_number()
        tags, meta = [f"tag {number % _TAGS}"], {f"patch {number}": number}
        with _holding(job):
            response = await self._client.call("patch", f"/jobs/{job.id}", json={"tags": tags, "meta": meta})
            if response is None:
                job.unknown_tags.append(tags)
            elif self._client.expect("patch", response, may_be_gone=job.deletes.sent > 0):
                job.tags = tags
                job.meta |= meta

    async def _create_preset(self) -> None:
        title = f"preset {self.sent.next_number()}"
        body = {"title": title, "pipeline": "mixed", "params": self._submissions.params()}
        response = await self._client.call("create a preset", "/presets", json=body)
        if response is not None and self._client.expect("create a preset", response):
            preset = SentPreset(response.json()["id"], title)
            self.sent.presets[preset.id] = preset

    async def _delete_preset(self) -> None:
        preset = self._client.pick([*self.sent.presets.values()])
        if preset is not None:
            await self._client.change(
                "delete a preset", f"/presets/{preset.id}", preset.deletes, preset.deletes
            )

    async def _upload(self) -> None:
        number = self.sent.next_number()
        files = {"file": (f"upload {number}", upload_content(number), "text/plain")}
        response = await self._client.call("upload", "/files", files=files)
        if response is not None and self._client.expect("upload", response):
            upload = SentUpload(response.json()["id"], number)
            self.sent.uploads[upload.id] = upload

    async def _download(self) -> None:
        upload = self._client.pick([*self.sent.uploads.values()])
        if upload is None:
            return
        response = await self._client.call("download", f"/files/{upload.id}/content")
        if response is None or not self._client.expect(
            "download", response, may_be_gone=upload.deletes.sent > 0
        ):
            return
        if response.content != upload_content(upload.number):
            self._client.report("download", response, "has other bytes")

    async def _delete_upload(self) -> None:
        upload = self._client.pick([*self.sent.uploads.values()])
        if upload is not None:
            await self._client.change(
                "delete an upload", f"/files/{upload.id}", upload.deletes, upload.deletes
            )

    def _changeable_jobs(self) -> list[SentJob]:
        return [job for job in self.sent.jobs.values() if not job.is_held and not job.is_watched]


@contextmanager
def _holding(job: SentJob) -> Iterator[None]:
    job.is_held = True
    try:
        yield
    finally:
        job.is_held = False
