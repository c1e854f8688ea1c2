"""The calls for pipelines, presets, tags, accounts, job tokens and numbers, as methods of `AsyncClient`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar, Unpack

from headrace_client import number_calls
from headrace_client import resource_calls as calls
from headrace_client.calls import Call, JobTerms
from headrace_client.references import Reference
from headrace_client.resource_calls import PresetChanges, PresetFilter
from headrace_client.views import (
    ApiKey,
    Job,
    JobToken,
    Me,
    NewApiKey,
    Page,
    Pipeline,
    Preset,
    Queue,
    Scaling,
    Stats,
    Tag,
    Worker,
)

T = TypeVar("T")


class AsyncResources(ABC):
    """The methods of a client besides those for jobs and files."""

    @abstractmethod
    async def _send(self, call: Call[T]) -> T:
        """Send a call and return its decoded answer."""

    async def pipelines(self, *, limit: int = 100, offset: int = 0) -> Page[Pipeline]:
        """List the newest version of every pipeline, by name."""
        return await self._send(calls.pipelines(limit, offset))

    async def pipeline(self, name: str) -> Pipeline:
        """Fetch the newest version of one pipeline."""
        return await self._send(calls.pipeline(name))

    async def remove_pipeline(self, name: str, *, version: int | None = None) -> None:
        """Remove all versions of a pipeline, or one, that no live worker serves. Its past jobs stay."""
        await self._send(calls.remove_pipeline(name, version))

    async def presets(self, **filters: Unpack[PresetFilter]) -> Page[Preset]:
        """List presets, newest first by default."""
        return await self._send(calls.presets(filters))

    async def preset(self, preset: Reference) -> Preset:
        """Fetch one preset."""
        return await self._send(calls.preset(preset))

    async def create_preset(
        self,
        title: str,
        pipeline: str,
        params: Any,
        *,
        description: str | None = None,
        tags: Sequence[str] = (),
    ) -> Preset:
        """Save parameters of a pipeline. Each of the caller's presets has another title."""
        return await self._send(calls.create_preset(title, pipeline, params, description, tags))

    async def replace_preset(
        self,
        preset: Reference,
        title: str,
        pipeline: str,
        params: Any,
        *,
        description: str | None = None,
        tags: Sequence[str] = (),
    ) -> Preset:
        """Replace the whole preset."""
        return await self._send(calls.replace_preset(preset, title, pipeline, params, description, tags))

    async def change_preset(self, preset: Reference, **changes: Unpack[PresetChanges]) -> Preset:
        """Change some fields of a preset. Absent fields stay."""
        return await self._send(calls.change_preset(preset, changes))

    async def delete_preset(self, preset: Reference, *, keep_jobs: bool = True) -> None:
        """Delete a preset, and unless *keep_jobs* its jobs, if all have ended."""
        await self._send(calls.delete_preset(preset, keep_jobs=keep_jobs))

    async def submit_preset(
        self, preset: Reference, *, key: str | None = None, **options: Unpack[JobTerms]
    ) -> Job:
        """Submit a job of a preset. The same *key* again returns the same job."""
        return await self._send(calls.submit_preset(preset, key, options))

    async def tags(
        self, *, limit: int = 100, offset: int = 0, order_by: str = "name", after: str | None = None
    ) -> Page[Tag]:
        """List the caller's tags, by name."""
        return await self._send(calls.tags(limit, offset, order_by, after))

    async def create_tag(self, name: str) -> Tag:
        """Create a tag. Jobs and presets create the tags that they name by themselves."""
        return await self._send(calls.create_tag(name))

    async def rename_tag(self, tag: Reference, name: str) -> Tag:
        """Rename a tag on all jobs and presets that it marks."""
        return await self._send(calls.rename_tag(tag, name))

    async def delete_tag(self, tag: Reference) -> None:
        """Delete a tag. The jobs and presets that it marked stay."""
        await self._send(calls.delete_tag(tag))

    async def me(self) -> Me:
        """Fetch the caller, as the service has authenticated it, and how much of its quotas is used."""
        return await self._send(calls.me())

    async def api_keys(self, *, limit: int = 100, offset: int = 0, after: str | None = None) -> Page[ApiKey]:
        """List the caller's API keys, newest first. A caller with an API key may not."""
        return await self._send(calls.api_keys(limit, offset, after))

    async def create_api_key(
        self, name: str, scopes: Sequence[str], *, expires_at: datetime | None = None
    ) -> NewApiKey:
        """Create an API key. Its text is in this answer only."""
        return await self._send(calls.create_api_key(name, scopes, expires_at))

    async def delete_api_key(self, key: Reference) -> None:
        """Revoke an API key. It is refused everywhere within a second."""
        await self._send(calls.delete_api_key(key))

    async def create_job_token(
        self, job: Reference, scope: str = "read", *, expires_in: int = 3_600
    ) -> JobToken:
        """Issue a token with which a page watches one job for *expires_in* seconds.

        With the *scope* `cancel` the page may also cancel it.
        """
        return await self._send(calls.create_job_token(job, scope, expires_in))

    async def revoke_job_tokens(self, job: Reference) -> None:
        """Revoke all tokens of the job that were issued up to now."""
        await self._send(calls.revoke_job_tokens(job))

    async def stats(self, *, window: str = "1h", pipeline: str | None = None) -> Stats:
        """Fetch how many jobs are in each state, and how many ended within *window*, and how fast."""
        return await self._send(number_calls.stats(window, pipeline))

    async def queues(self) -> list[Queue]:
        """List the queues with what waits and runs in them."""
        return await self._send(number_calls.queues())

    async def scaling(self, queue: str, *, slots: int = 50) -> Scaling:
        """Fetch how many workers with so many *slots* a queue needs."""
        return await self._send(number_calls.scaling(queue, slots))

    async def workers(self) -> list[Worker]:
        """List the live workers with the jobs that they run."""
        return await self._send(number_calls.workers())
