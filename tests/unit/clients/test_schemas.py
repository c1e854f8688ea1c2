"""The clients' types say what the service's say: both are made of JSON Schemas, and compared."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import msgspec
import pytest
from msgspec import UNSET, Struct

import headrace_client
from headrace.api import schemas
from headrace.api.jobs import schemas as job_schemas
from headrace.api.live import frames as streamed
from headrace.domain.events import types
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
    (frames.Progress, types.Progress),
    (frames.ProgressFrame, types.ProgressFrame),
    (frames.Hello, streamed.Hello),
    (frames.Beat, streamed.Beat),
    (frames.End, streamed.End),
    (frames.Bye, streamed.Bye),
    (frames.Refusal, streamed.ErrorFrame),
]


class Header(Struct):
    """What the service puts before an event's own fields."""

    job_id: UUID
    seq: int
    at: datetime


def schema(struct: Any) -> dict[str, Any]:
    """What is sent and what may be left out, without names, words and defaults."""
    (made,), named = msgspec.json.schema_components([struct], ref_template="{name}")

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

    encoded: dict[str, Any] = plain(made)
    return encoded


def as_sent(event: type[Struct]) -> dict[str, Any]:
    """The schema of an event of the service, with its header."""
    header, own = schema(Header), schema(event)
    required = sorted([*header["required"], *own["required"]])
    return own | {"properties": own["properties"] | header["properties"], "required": required}


@pytest.mark.parametrize(("client", "server"), VIEWS, ids=lambda struct: struct.__name__)
def test_what_the_api_answers_is_what_the_client_reads(client: type[Struct], server: type[Struct]) -> None:
    assert schema(client) == schema(server)


def test_pages_of_lists_are_the_same() -> None:
    assert schema(views.Page[str]) == schema(schemas.Page[str])


def test_the_client_knows_every_event() -> None:
    assert CLIENT_EVENTS.keys() == SERVER_EVENTS.keys()


@pytest.mark.parametrize("kind", sorted(SERVER_EVENTS))
def test_an_event_is_what_the_client_reads(kind: str) -> None:
    assert schema(CLIENT_EVENTS[kind]) == as_sent(SERVER_EVENTS[kind])


def test_what_may_be_said_of_a_new_job_is_what_the_service_takes() -> None:
    taken = {field.name for field in msgspec.structs.fields(job_schemas.SubmitJob)}

    assert set(headrace_client.SubmitOptions.__annotations__) == taken - {"pipeline", "params"}
    assert declared("SubmitOptions") == taken - {"pipeline", "params"} | {"key"}


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        ("Job", job_schemas.JobView),
        ("JobError", job_schemas.ErrorView),
        ("File", types.FileSummary),
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


def test_an_optional_field_of_the_service_is_one_of_the_client() -> None:
    skipped = next(item for item in msgspec.structs.fields(types.ProgressFrame) if item.name == "skipped")

    assert skipped.default is UNSET
    assert "skipped?: number" in TYPESCRIPT.read_text()


def declared(name: str) -> set[str]:
    """The fields of an interface of the TypeScript client."""
    match = re.search(
        rf"^(?:export )?interface {name}\b[^{{]*\{{(.*?)\}}$",
        TYPESCRIPT.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert match is not None, name
    return set(re.findall(r"^  (\w+)\??:", match[1], re.MULTILINE)) | (
        {"type"} & set(re.findall(r"\btype\b", match[1]))
    )
