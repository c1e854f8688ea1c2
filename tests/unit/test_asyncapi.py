"""The contract of the sockets: generated from the structs, current, and backward compatible."""

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from msgspec import Struct

from headrace.api.contract import asyncapi
from headrace.api.live import frames
from headrace.domain.events import types as events
from headrace.domain.events.encoding import encode_event, encode_frame
from headrace.domain.events.types import JobEvent
from support.contract_changes import broken_promises

DOCS = Path(__file__).parents[2] / "docs"
RELEASED = DOCS / "asyncapi.released.yaml"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def current() -> Document:
    document: Document = yaml.safe_load(asyncapi.document())
    return document


def test_the_document_matches_the_structs() -> None:
    assert (DOCS / "asyncapi.yaml").read_text() == asyncapi.document(), "run: make contract"


def test_the_document_is_compatible_with_the_released_one(current: Document) -> None:
    assert broken_promises(yaml.safe_load(RELEASED.read_text()), current) == []


def test_every_event_and_frame_is_described(current: Document) -> None:
    kinds = {
        kind.__struct_config__.tag
        for module in (events, frames)
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, Struct)
        and kind.__struct_config__.tag is not None
        and kind not in (JobEvent, events.StepEvent)
    }

    described = {message["name"] for message in current["components"]["messages"].values()}

    assert described == kinds | {"job", "job.deleted"}


def test_an_event_has_the_documented_fields(current: Document) -> None:
    written = encode_event(events.StepSucceeded(step="render", index=1, attempt=1, took_ms=5))
    sent = yaml.safe_load(encode_frame(UUID(int=1), 3, datetime.now(UTC), written.type, written.body))

    schema = current["components"]["schemas"]["StepSucceeded"]

    assert list(sent) == list(schema["properties"]) == schema["required"]


def schemas(document: Document) -> dict[str, Any]:
    schemas: dict[str, Any] = document["components"]["schemas"]
    return schemas


def lose_event(document: Document) -> None:
    messages = document["operations"]["sendJobFrames"]["messages"]
    messages[:] = [ref for ref in messages if not ref["$ref"].endswith("AttemptLost")]


def rename_type(document: Document) -> None:
    document["components"]["messages"]["LogWritten"]["name"] = "log.written"
    schemas(document)["LogWritten"]["properties"]["type"]["enum"] = ["log.written"]


def lose_field(document: Document) -> None:
    del schemas(document)["StepSucceeded"]["properties"]["took_ms"]


def lose_nested_field(document: Document) -> None:
    del schemas(document)["FileSummary"]["properties"]["sha256"]


def make_optional(document: Document) -> None:
    schemas(document)["StepFailed"]["required"].remove("error")


def change_type(document: Document) -> None:
    schemas(document)["JobStarted"]["properties"]["attempt"]["type"] = "string"


def allow_null(document: Document) -> None:
    schemas(document)["JobStarted"]["properties"]["worker"] = {
        "anyOf": [{"type": "string"}, {"type": "null"}]
    }


def change_map(document: Document) -> None:
    schemas(document)["ProgressFrame"]["properties"]["steps"]["additionalProperties"] = {"type": "number"}


def lose_word(document: Document) -> None:
    document["operations"]["receiveJobWords"]["messages"].pop()


def need_more(document: Document) -> None:
    cancel = schemas(document)["Cancel"]
    cancel["properties"]["reason"] = {"type": "string"}
    cancel["required"] = [*cancel["required"], "reason"]


def move_channel(document: Document) -> None:
    document["channels"]["jobs"]["address"] = "/api/v2/ws"


def lose_parameter(document: Document) -> None:
    del document["channels"]["jobs"]["bindings"]["ws"]["query"]["properties"]["tag"]


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        (lose_event, "sendJobFrames: AttemptLost is gone"),
        (rename_type, "sendJobFrames: LogWritten has another type"),
        (lose_field, "StepSucceeded.took_ms is gone"),
        (lose_nested_field, "FileCreated.file.sha256 is gone"),
        (make_optional, "StepFailed.error may be missing now"),
        (change_type, "JobStarted.attempt: type has changed"),
        (allow_null, "JobStarted.worker: anyOf has changed"),
        (change_map, "ProgressFrame.steps[]: type has changed"),
        (lose_word, "receiveJobWords: Resume is gone"),
        (need_more, "Cancel.reason is needed now"),
        (move_channel, "channel jobs is gone from /api/v1/ws"),
        (lose_parameter, "channel jobs no longer takes tag"),
    ],
)
def test_breaking_changes_are_found(
    current: Document, change: Callable[[Document], None], promise: str
) -> None:
    changed = copy.deepcopy(current)
    change(changed)

    assert promise in broken_promises(current, changed)


def test_added_fields_and_messages_are_compatible(current: Document) -> None:
    changed = copy.deepcopy(current)
    schemas(changed)["JobStarted"]["properties"]["region"] = {"type": "string"}
    schemas(changed)["JobStarted"]["required"].append("region")
    schemas(changed)["Resume"]["properties"]["why"] = {"type": "string"}
    schemas(changed)["Paused"] = {"type": "object", "properties": {"type": {"enum": ["job.paused"]}}}
    changed["components"]["messages"]["Paused"] = {
        "name": "job.paused",
        "payload": {"$ref": "#/components/schemas/Paused"},
    }
    changed["operations"]["sendJobFrames"]["messages"].append({"$ref": "#/channels/job/messages/Paused"})

    assert broken_promises(current, changed) == []
