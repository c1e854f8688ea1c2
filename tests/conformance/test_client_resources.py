"""Both clients cover the REST API: every kind of object, given as it was returned or by its id."""

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from conformance.node import TYPESCRIPT, needs_node, node_script
from conformance.service import Service
from headrace.api.contract.openapi import contract_of
from headrace.app import create_app
from headrace.settings import Settings
from headrace_client import ApiError, AsyncClient, AsyncJobsWatch, Client, JobDeleted, JobSummary
from support.patience import PATIENCE_SECONDS

Call = Callable[..., Awaitable[Any]]


async def call_blocking(client: Client, method: str, /, *arguments: Any, **more: Any) -> Any:
    return await asyncio.to_thread(getattr(client, method), *arguments, **more)


async def call_async(client: AsyncClient, method: str, /, *arguments: Any, **more: Any) -> Any:
    return await getattr(client, method)(*arguments, **more)


@pytest.fixture(params=["blocking", "async"])
async def call(request: pytest.FixtureRequest, service: Service) -> AsyncIterator[Call]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        if request.param == "blocking":
            with Client(service.url) as client:
                yield partial(call_blocking, client)
        else:
            async with AsyncClient(service.url) as client:
                yield partial(call_async, client)


def title() -> str:
    return uuid4().hex


async def test_a_batch_is_submitted_all_or_none_and_once_per_key(call: Call) -> None:
    key = title()
    batch = [{"pipeline": "noop", "tags": [key]}, {"pipeline": "ticks", "params": {"count": 1}}]

    jobs = await call("submit_many", batch, key=key)
    again = await call("submit_many", batch, key=key)

    assert [job.pipeline for job in jobs] == ["noop", "ticks"]
    assert [job.id for job in again] == [job.id for job in jobs]
    with pytest.raises(ApiError) as refused:
        await call("submit_many", [{"pipeline": "noop"}, {"pipeline": "nope"}])
    assert refused.value.code == "pipeline_unknown"


async def test_a_job_is_changed_deleted_and_listed_by_several_states(call: Call) -> None:
    tag = title()
    job = await call("submit", "noop", tags=[tag], meta={"a": 1, "b": 2})
    done = await call("wait", job, timeout=PATIENCE_SECONDS)

    changed = await call("change", done, meta={"a": None, "c": 3})
    found = await call("jobs", state=["succeeded", "failed"], tag=tag)
    none = await call("jobs", state=["queued", "running"], tag=tag)
    await call("delete", str(job.id))

    assert (changed.meta, changed.tags) == ({"b": 2, "c": 3}, [tag])
    assert ([item.id for item in found.items], none.items) == ([job.id], [])
    with pytest.raises(ApiError, match=f"there is no job {job.id}"):
        await call("show", job)


async def test_a_file_is_listed_shown_changed_and_deleted(call: Call, tmp_path: Path) -> None:
    path = tmp_path / f"{title()}.txt"
    path.write_text("words")
    file = await call("upload", path)

    changed = await call("change_file", file, name="other.txt", meta={"a": 1})
    listed = await call("all_files", search="other.txt")
    got = await call("download", changed, tmp_path / "got.txt")
    await call("delete_file", file.id)

    assert (changed.name, changed.meta, changed.id) == ("other.txt", {"a": 1}, file.id)
    assert file.id in [item.id for item in listed.items]
    assert got.read_text() == "words"
    with pytest.raises(ApiError, match=f"there is no file {file.id}"):
        await call("show_file", file)


async def test_a_preset_is_created_replaced_changed_run_and_deleted(call: Call) -> None:
    first, second, key = title(), title(), title()
    preset = await call("create_preset", first, "ticks", {"count": 1}, description="d", tags=["p"])

    changed = await call("change_preset", preset, description=None, title=second)
    jobs = [await call("submit_preset", preset.id, key=key, priority=7) for _ in range(2)]
    replaced = await call("replace_preset", preset, first, "noop", {})
    listed = await call("presets", pipeline="noop", search=first)
    shown = await call("preset", preset)
    await call("delete_preset", preset)

    assert (preset.description, preset.tags) == ("d", ["p"])
    assert (changed.title, changed.description, changed.params) == (second, None, {"count": 1})
    assert (jobs[0].preset_id, jobs[0].priority, jobs[0].id) == (preset.id, 7, jobs[1].id)
    assert (replaced.pipeline, replaced.tags) == ("noop", [])
    assert ([item.id for item in listed.items], shown) == ([preset.id], replaced)
    with pytest.raises(ApiError, match="there is no preset"):
        await call("preset", preset)


async def test_tags_are_created_renamed_listed_and_deleted(call: Call) -> None:
    first, second = title(), title()
    tag = await call("create_tag", first)

    renamed = await call("rename_tag", tag, second)
    names = [item.name for item in (await call("tags", limit=1000)).items]
    await call("delete_tag", tag)

    assert renamed.name == second
    assert second in names
    assert first not in names
    with pytest.raises(ApiError, match="there is no tag"):
        await call("delete_tag", tag)


async def test_the_account_its_keys_and_job_tokens(call: Call, service: Service) -> None:
    me = await call("me")
    key = await call("create_api_key", "test", ["jobs:read"])
    job = await call("submit", "noop", run_at=None)
    token = await call("create_job_token", job, "cancel", expires_in=60)

    with Client(service.url, token.token) as watcher:
        shown = await asyncio.to_thread(watcher.show, job)
        await call("revoke_job_tokens", job)
    listed = await call("api_keys", limit=1000)
    await call("delete_api_key", key)

    assert (me.username, me.auth, token.scope, shown.id) == ("dev", "local", "cancel", job.id)
    assert key.key.startswith(key.prefix)
    assert key.id in [item.id for item in listed.items]
    assert key.id not in [item.id for item in (await call("api_keys", limit=1000)).items]


async def test_pipelines_are_listed_shown_and_not_removed_while_they_are_served(call: Call) -> None:
    names = [item.name for item in (await call("pipelines")).items]
    pipeline = await call("pipeline", "ticks")

    assert {"noop", "ticks"} <= set(names)
    assert pipeline.served
    with pytest.raises(ApiError) as refused:
        await call("remove_pipeline", "ticks", version=pipeline.version)
    assert refused.value.code == "pipeline_in_use"


async def test_a_list_is_read_page_by_page_and_the_numbers_of_jobs_are_typed(call: Call) -> None:
    tag = title()
    jobs = await call("submit_many", [{"pipeline": "noop", "tags": [tag]}] * 3)
    await call("wait", jobs[-1], timeout=PATIENCE_SECONDS)

    first = await call("jobs", tag=tag, limit=2)
    second = await call("jobs", tag=tag, limit=2, after=first.next)
    stats = await call("stats", window="5m", pipeline="noop")
    queues = await call("queues")
    scaling = await call("scaling", "nobody's", slots=3)
    (worker, *_) = await call("workers")

    assert {job.id for job in (*first.items, *second.items)} == {job.id for job in jobs}
    assert (first.total, first.total_is_estimate, second.next) == (3, False, None)
    assert stats.counts.succeeded >= 1
    assert "default" in [queue.name for queue in queues]
    assert (scaling.due, scaling.wanted_workers, scaling.slots_per_worker) == (0, 0, 3)
    assert "default" in worker.queues


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("show", "job"),
        ("show_file", "file"),
        ("preset", "preset"),
        ("delete_tag", "tag"),
    ],
)
async def test_an_id_that_is_none_is_answered_with_what_is_missing(
    call: Call, name: str, missing: str
) -> None:
    with pytest.raises(ApiError, match=f"there is no {missing} 'nope': its id is a UUID") as refused:
        await call(name, "nope")

    assert refused.value.status == 404


async def test_the_watch_of_all_jobs_yields_each_change(service: Service) -> None:
    tag = title()
    async with asyncio.timeout(PATIENCE_SECONDS), AsyncClient(service.url) as client:
        before = await client.submit("noop", tags=[tag])
        await client.wait(before)
        watch = client.watch_jobs(tag=tag)
        first = await anext(watch)
        after = await client.submit("noop", tags=[tag])
        states = [frame async for frame in _until_success(watch, after.id)]
        await watch.close()
    with Client(service.url) as other, other.watch_jobs(state="succeeded", pipeline="noop") as blocking:
        blocking_first = await asyncio.to_thread(next, blocking)

    assert isinstance(first, JobSummary)
    assert (first.job_id, first.state) == (before.id, "succeeded")
    assert states[-1].state == "succeeded"
    assert isinstance(blocking_first, JobSummary)


async def _until_success(watch: AsyncJobsWatch, job_id: UUID) -> AsyncIterator[JobSummary]:
    async for frame in watch:
        if isinstance(frame, JobSummary) and frame.job_id == job_id:
            yield frame
            if frame.state == "succeeded":
                return


async def test_the_watch_of_all_jobs_says_that_a_job_was_deleted(service: Service) -> None:
    tag = title()
    async with asyncio.timeout(PATIENCE_SECONDS), AsyncClient(service.url) as client:
        job = await client.wait(await client.submit("noop", tags=[tag]))
        async with client.watch_jobs(pipeline="noop") as watch:
            await anext(watch)
            await client.delete(job)
            while (frame := await anext(watch)) != JobDeleted(job_id=job.id):
                assert frame.type != "error"


# The methods of both clients for an operation. Those of admins, sign-in, GraphQL and health belong to the
# service's own pages and to operators: `request` makes these calls.
METHODS = {
    "submitJob": ("submit", "submit"),
    "submitJobs": ("submit_many", "submitMany"),
    "listJobs": ("jobs", "jobs"),
    "getJob": ("show", "show"),
    "patchJob": ("change", "change"),
    "deleteJob": ("delete", "delete"),
    "cancelJob": ("cancel", "cancel"),
    "retryJob": ("retry", "retry"),
    "listSteps": ("steps", "steps"),
    "listJobFiles": ("files", "files"),
    "listEvents": ("events", "events"),
    "streamJob": ("watch", "watch"),
    "makeJobToken": ("create_job_token", "createJobToken"),
    "revokeJobTokens": ("revoke_job_tokens", "revokeJobTokens"),
    "uploadFile": ("upload", "upload"),
    "listFiles": ("all_files", "allFiles"),
    "getFile": ("show_file", "showFile"),
    "downloadFile": ("download", "download"),
    "patchFile": ("change_file", "changeFile"),
    "deleteFile": ("delete_file", "deleteFile"),
    "listPipelines": ("pipelines", "pipelines"),
    "getPipeline": ("pipeline", "pipeline"),
    "deletePipeline": ("remove_pipeline", "removePipeline"),
    "listPresets": ("presets", "presets"),
    "createPreset": ("create_preset", "createPreset"),
    "getPreset": ("preset", "preset"),
    "replacePreset": ("replace_preset", "replacePreset"),
    "patchPreset": ("change_preset", "changePreset"),
    "deletePreset": ("delete_preset", "deletePreset"),
    "submitPreset": ("submit_preset", "submitPreset"),
    "listTags": ("tags", "tags"),
    "createTag": ("create_tag", "createTag"),
    "patchTag": ("rename_tag", "renameTag"),
    "deleteTag": ("delete_tag", "deleteTag"),
    "showMe": ("me", "me"),
    "makeApiKey": ("create_api_key", "createApiKey"),
    "listApiKeys": ("api_keys", "apiKeys"),
    "deleteApiKey": ("delete_api_key", "deleteApiKey"),
    "showStats": ("stats", "stats"),
    "listQueues": ("queues", "queues"),
    "showScaling": ("scaling", "scaling"),
    "listWorkers": ("workers", "workers"),
}
OTHERS = {
    *("getTag", "getApiKey", "getTone"),
    *("listUsers", "getUser", "patchUser", "deleteUser", "endSessions", "listAudit"),
    *("signIn", "finishSignIn", "refreshSession", "signOut"),
    *("live", "ready", "runQuery", "queryGraph"),
}


def test_every_operation_of_the_contract_has_a_method_in_both_clients() -> None:
    contract = contract_of(
        create_app(Settings(database_url="postgresql://nowhere/x")), allows_anonymous=False
    )
    operations = {call["operationId"] for at in contract["paths"].values() for call in at.values()}
    declared = (TYPESCRIPT / "src" / "index.d.ts").read_text().partition("export class HeadraceClient {")[2]
    in_typescript = set(re.findall(r"^  (\w+)\(", declared, re.MULTILINE))

    assert operations - OTHERS == METHODS.keys()
    for python, typescript in METHODS.values():
        assert inspect.isfunction(getattr(Client, python))
        assert inspect.isfunction(getattr(AsyncClient, python))
        assert typescript in in_typescript


def test_both_python_clients_take_the_same_arguments() -> None:
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("_"):
            own, other = inspect.signature(method), inspect.signature(getattr(AsyncClient, name))
            assert list(own.parameters) == list(other.parameters), name


TOUR = """
const tag = crypto.randomUUID();
const batch = await client.submitMany([{ pipeline: "noop", tags: [tag] }, { pipeline: "noop" }]);
const done = await client.wait(batch[0]);
const changed = await client.change(done, { meta: { a: 1 } });
const listed = await client.jobs({ tag, state: ["succeeded", "failed"] });
const steps = await client.steps(done);
const events = await client.events(done, { after: 1, limit: 2 });
const file = await client.upload("words", "words.txt", { mediaType: "text/plain" });
const words = await (await client.download(file)).text();
const renamed = await client.changeFile(file, { name: "other.txt" });
const files = await client.allFiles({ search: "other.txt" });
await client.deleteFile(file);
const preset = await client.createPreset({ title: tag, pipeline: "ticks", params: { count: 1 } });
const changedPreset = await client.changePreset(preset, { description: "d" });
const presetJob = await client.submitPreset(preset, { priority: 7 });
await client.replacePreset(preset, { title: tag, pipeline: "noop", params: {} });
await client.deletePreset(preset);
const made = await client.createTag(`${tag}b`);
const renamedTag = await client.renameTag(made, `${tag}c`);
await client.deleteTag(made);
const key = await client.createApiKey("test", ["jobs:read"]);
await client.deleteApiKey(key);
const token = await client.createJobToken(done, { expires_in: 60 });
await client.revokeJobTokens(done);
const missing = await client.show("nope").catch((error) => error.message);
let seen;
for await (const frame of client.watchJobs({ tag })) { seen = frame; break; }
await client.delete(done);
const gone = await client.show(done).catch((error) => error.code);
print({
  meta: changed.meta, listed: listed.items.map((job) => job.id === done.id), steps: steps.length,
  events: events.items.map((event) => event.seq), words, renamed: renamed.name, files: files.items.length > 0,
  preset: changedPreset.description, presetJob: [presetJob.priority, presetJob.preset_id === preset.id],
  tag: renamedTag.name === `${tag}c`, key: key.key.startsWith(key.prefix), scope: token.scope, missing, gone,
  seen: [seen.type, seen.state], me: (await client.me()).username,
  pipeline: (await client.pipeline("noop")).name,
  next: typeof (await client.jobs({ limit: 1 })).next, after: (await client.jobs({ limit: 1, after:
    (await client.jobs({ limit: 1 })).next })).items.length,
  stats: (await client.stats({ window: "5m" })).window_seconds,
  queues: (await client.queues()).some((queue) => queue.name === "default"),
  scaling: (await client.scaling("nobody's", { slots: 3 })).slots_per_worker,
  workers: (await client.workers()).length > 0,
});
"""


@needs_node
async def test_the_typescript_client_covers_the_rest_api(service: Service) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        result = await node_script(service.url, TOUR)

    assert result == {
        "meta": {"a": 1},
        "listed": [True],
        "steps": 1,
        "events": [2, 3],
        "words": "words",
        "renamed": "other.txt",
        "files": True,
        "preset": "d",
        "presetJob": [7, True],
        "tag": True,
        "key": True,
        "scope": "read",
        "missing": "there is no job 'nope': its id is a UUID",
        "gone": "job_not_found",
        "seen": ["job", "succeeded"],
        "me": "dev",
        "pipeline": "noop",
        "next": "string",
        "after": 1,
        "stats": 300,
        "queues": True,
        "scaling": 3,
        "workers": True,
    }
