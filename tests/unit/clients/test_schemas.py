"""The clients' types match those of the service: the tests compare their JSON Schemas."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import msgspec
import pytest
from msgspec import UNSET, Struct

import headrace_client
from headrace.api import pipelines, schemas, tags
from headrace.api.accounts import schemas as account_schemas
from headrace.api.files import schemas as file_schemas
from headrace.api.jobs import schemas as job_schemas
from headrace.api.live import frames as streamed
from headrace.api.presets import schemas as preset_schemas
from headrace.domain.events import news, types
from headrace.domain.queues import models as queues
from headrace.domain.statistics import models as statistics
from headrace.domain.workers import repository as workers
from headrace_client import frames, views

TYPESCRIPT = Path(__file__).parents[3] / "clients" / "typescript" / "src" / "index.d.ts"
SERVER_EVENTS = {
    str(item.__struct_config__.tag): item
    for item in vars(types).values()
    if isinstance(item, type) and issubclass(item, types.JobEvent) and not item.__subclasses__()
}
CLIENT_EVENTS = {str(item.__struct_config__.tag): item for item in get_args(frames.KnownEvent)}
VIEWS: list[tuple[type[Struct], type[Struct]]] = [
    (views.Job, job_schemas.JobView),
    (views.StepRun, job_schemas.StepView),
    (views.JobError, job_schemas.ErrorView),
    (views.JobError, types.JobError),
    (views.File, types.FileSummary),
    (views.StoredFile, file_schemas.FileView),
    (views.Pipeline, pipelines.PipelineView),
    (views.Preset, preset_schemas.PresetView),
    (views.Tag, tags.TagView),
    (views.Me, account_schemas.MeView),
    (views.ApiKey, account_schemas.ApiKeyView),
    (views.NewApiKey, account_schemas.NewApiKeyView),
    (views.JobToken, account_schemas.JobTokenView),
    (views.Stats, statistics.JobStatistics),
    (views.Queue, queues.QueueNumbers),
    (views.Scaling, queues.ScalingNumbers),
    (views.Worker, workers.LiveWorker),
    (frames.JobSummary, news.JobSummary),
    (frames.JobDeleted, news.JobDeleted),
    (frames.JobsBeat, streamed.JobsBeat),
    (frames.Progress, types.Progress),
    (frames.ProgressFrame, types.ProgressFrame),
    (frames.Hello, streamed.Hello),
    (frames.Beat, streamed.Beat),
    (frames.End, streamed.End),
    (frames.Bye, streamed.Bye),
    (frames.Refusal, streamed.ErrorFrame),
]


class Header(Struct):
    """The fields that the service adds to each event."""

    job_id: UUID
    seq: int
    at: datetime


def schema(struct: Any) -> dict[str, Any]:
    """Return the JSON Schema of a struct without titles, descriptions and defaults."""
    (root,), named = msgspec.json.schema_components([struct], ref_template="{name}")

    def plain(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return plain(named[part["$ref"]])
            kept = {
                key: plain(value)
                for key, value in part.items()
                if key not in ("title", "description", "default")
            }
            return kept | ({"required": sorted(kept["required"])} if "required" in kept else {})
        return [plain(item) for item in part] if isinstance(part, list) else part

    encoded: dict[str, Any] = plain(root)
    return encoded


def as_sent(event: type[Struct]) -> dict[str, Any]:
    """Return the schema of a service event with its header."""
    header, own = schema(Header), schema(event)
    required = sorted([*header["required"], *own["required"]])
    return own | {"properties": own["properties"] | header["properties"], "required": required}


@pytest.mark.parametrize(("client", "server"), VIEWS, ids=lambda struct: struct.__name__)
def test_client_views_match_the_api_responses(client: type[Struct], server: type[Struct]) -> None:
    assert schema(client) == schema(server)


def test_client_pages_match_the_api_pages() -> None:
    assert schema(views.Page[str]) == schema(schemas.Page[str])


def test_the_client_knows_every_event() -> None:
    assert CLIENT_EVENTS.keys() == SERVER_EVENTS.keys()


@pytest.mark.parametrize("kind", sorted(SERVER_EVENTS))
def test_client_events_match_the_service_events(kind: str) -> None:
    assert schema(CLIENT_EVENTS[kind]) == as_sent(SERVER_EVENTS[kind])


def test_submit_options_match_the_fields_of_the_service() -> None:
    accepted = {field.name for field in msgspec.structs.fields(job_schemas.SubmitJob)}

    terms = set(headrace_client.JobTerms.__annotations__)
    assert terms | set(headrace_client.SubmitOptions.__annotations__) == accepted - {"pipeline", "params"}
    assert (
        declared("JobTerms")
        == terms
        == {field.name for field in msgspec.structs.fields(job_schemas.JobTerms)}
    )
    assert declared("SubmitOptions") == {"version"}
    assert declared("BatchJob") | terms == accepted


def test_preset_fields_match_those_of_the_service() -> None:
    accepted = {field.name for field in msgspec.structs.fields(preset_schemas.PatchPreset)}

    assert set(headrace_client.PresetChanges.__annotations__) == accepted
    assert declared("PresetFields") == accepted


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        ("Job", job_schemas.JobView),
        ("JobError", job_schemas.ErrorView),
        ("File", types.FileSummary),
        ("StepRun", job_schemas.StepView),
        ("GraphStep", pipelines.GraphStep),
        ("Pipeline", pipelines.PipelineView),
        ("Preset", preset_schemas.PresetView),
        ("Tag", tags.TagView),
        ("Me", account_schemas.MeView),
        ("ApiKey", account_schemas.ApiKeyView),
        ("JobToken", account_schemas.JobTokenView),
        ("JobSummary", news.JobSummary),
        ("JobDeleted", news.JobDeleted),
        ("JobsBeat", streamed.JobsBeat),
        ("Progress", types.Progress),
        ("ProgressFrame", types.ProgressFrame),
    ],
)
def test_typescript_declares_the_fields_that_are_sent(name: str, struct: type[Struct]) -> None:
    fields = {field.name for field in msgspec.structs.fields(struct)}
    tag = {"type"} if struct.__struct_config__.tag else set()

    assert declared(name) == fields | tag


@pytest.mark.parametrize("kind", sorted(SERVER_EVENTS))
def test_typescript_declares_every_event(kind: str) -> None:
    match = re.search(
        rf'^export interface (\w+) extends (\w+)<"{re.escape(kind)}">', TYPESCRIPT.read_text(), re.MULTILINE
    )

    assert match is not None
    fields = {field.name for field in msgspec.structs.fields(SERVER_EVENTS[kind])}
    inherited = {"step", "index", "attempt"} if match[2] == "OfStep" else set()
    assert declared(match[1]) | inherited == fields


def test_an_optional_field_is_optional_in_typescript() -> None:
    skipped = next(item for item in msgspec.structs.fields(types.ProgressFrame) if item.name == "skipped")

    assert skipped.default is UNSET
    assert "skipped?: number" in TYPESCRIPT.read_text()


def declared(name: str) -> set[str]:
    """Return the fields of an interface of the TypeScript client."""
    match = re.search(
        rf"^(?:export )?interface {name}\b[^{{]*\{{(.*?)\}}$",
        TYPESCRIPT.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert match is not None, name
    return set(re.findall(r"^  (\w+)\??:", match[1], re.MULTILINE)) | (
        {"type"} & set(re.findall(r"\btype\b", match[1]))
    )
