"""/asyncapi.yaml: the contract of the sockets, generated from the structs of their frames."""

import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from inspect import cleandoc
from pathlib import Path
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
import yaml
from litestar import Request, Response, get
from litestar.di import NamedDependency
from msgspec import Struct, UnsetType

from headrace.api.contract.openapi import open_free_objects
from headrace.api.dependencies import Services
from headrace.api.live import frames
from headrace.api.public_address import public_address
from headrace.domain.events.news import JobDeleted, JobSummary
from headrace.domain.events.types import JobEvent, ProgressFrame

Schema = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"
# The fields that `headrace.domain.events.encoding.encode_frame` puts before the fields of an event.
_HEADER: Final[Schema] = {
    "job_id": {"type": "string", "format": "uuid"},
    "seq": {"type": "integer", "minimum": 1},
    "at": {"type": "string", "format": "date-time"},
}
_ABOUT: Final = """\
One object a message, each with `type`; with `batch=true` a message may be an array of such objects. Clients
ignore types and fields that they do not know. An event has a number, `seq`, that rises by one in its job; the
same bytes come over `GET /api/v1/jobs/{job_id}/stream` (server-sent events) and, events only, over
`GET /api/v1/jobs/{job_id}/events`. A socket is accepted first and then closed: with 1000 after `end`, 1012
when the server stops, 1008 for a client that sends too many messages, 1013 for a client that does not read or
that a limit refuses (the reason begins with
`rate_limited`, `too_many_streams` or `quota_exceeded`), 4400 for a cursor beyond the head or a filter that
cannot be, 4401 when not or no longer signed in (an `error` frame `signed_out` comes first), 4403 for a
page of a foreign origin or a credential without that right, 4404 for a job that is missing, foreign or
deleted while watched. Who asks is known by an `Authorization: Bearer` header, a session's cookie with the
service's own `Origin`, or, on the socket of one job, a job token as `token` in the query."""
_BATCH: Final[Schema] = {
    "type": "boolean",
    "description": "Whether a message may be an array of frames.",
}
_TEXT: Final[Schema] = {"type": "string", "maxLength": 64}
_OWNER: Final[Schema] = {
    "type": "string",
    "format": "uuid",
    "description": "Whose jobs, for admins; the caller's own without it.",
}


def _events(kind: type[JobEvent] = JobEvent) -> Iterator[type[JobEvent]]:
    subclasses = kind.__subclasses__()
    if not subclasses:
        yield kind
    for subclass in subclasses:
        yield from _events(subclass)


JOB_FRAMES: Final[tuple[type[Struct], ...]] = (
    frames.Hello,
    *_events(),
    ProgressFrame,
    frames.Beat,
    frames.End,
    frames.Bye,
    frames.Pong,
    frames.ErrorFrame,
)
OVERVIEW_FRAMES: Final[tuple[type[Struct], ...]] = (
    JobSummary,
    JobDeleted,
    frames.JobsBeat,
    frames.Bye,
    frames.Pong,
    frames.ErrorFrame,
)
JOB_WORDS: Final[tuple[type[Struct], ...]] = (frames.Ping, frames.Cancel, frames.Resume)
OVERVIEW_WORDS: Final[tuple[type[Struct], ...]] = (frames.Ping,)


def describe() -> Schema:
    """Return the contract of the sockets as an AsyncAPI 3.0 document."""
    sent = dict.fromkeys((*JOB_FRAMES, *OVERVIEW_FRAMES))
    received = dict.fromkeys((*JOB_WORDS, *OVERVIEW_WORDS))
    kinds = [*sent, *received]
    _, schemas = msgspec.json.schema_components(kinds, ref_template=_REF)
    open_free_objects(schemas)
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
    for kind in sent:
        _require_sent_fields(kind, schemas)
        if issubclass(kind, JobEvent):
            schema = schemas[kind.__name__]
            schema["properties"] = {"type": schema["properties"].pop("type")} | _HEADER | schema["properties"]
            schema["required"] = ["type", *_HEADER, *schema["required"][1:]]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Headrace", "version": "1", "description": _ABOUT},
        **_servers("http://127.0.0.1:8000", "local"),
        "channels": {
            "job": _channel(
                "/api/v1/jobs/{job_id}/ws",
                "One job: every event after a number, in order, once, and its progress.",
                [*JOB_FRAMES, *JOB_WORDS],
                {
                    "after": {"type": "integer", "minimum": 0, "default": 0},
                    "batch": _BATCH,
                    "token": {"type": "string", "description": "A job token."},
                },
            )
            | {"parameters": {"job_id": {"description": "The id of the job."}}},
            "jobs": _channel(
                "/api/v1/ws",
                "All jobs that the caller may see: the newest 500 that match, then each that changes, as it"
                " is then. One that no longer matches is sent once more.",
                [*OVERVIEW_FRAMES, *OVERVIEW_WORDS],
                {"state": _TEXT, "pipeline": _TEXT, "tag": _TEXT, "owner": _OWNER, "batch": _BATCH},
            ),
        },
        "operations": {
            "sendJobFrames": _operation("send", "job", JOB_FRAMES),
            "receiveJobWords": _operation("receive", "job", JOB_WORDS),
            "sendOverviewFrames": _operation("send", "jobs", OVERVIEW_FRAMES),
            "receiveOverviewWords": _operation("receive", "jobs", OVERVIEW_WORDS),
        },
        "components": {
            "messages": {kind.__name__: _message(kind, schemas) for kind in kinds},
            "schemas": schemas,
        },
    }


def _require_sent_fields(kind: Any, schemas: dict[str, Schema]) -> None:
    """Mark as required all fields that the server always sends: those that cannot be unset."""
    for struct in _structs_in(kind):
        schema = schemas[struct.__name__]
        tag = ["type"] if struct.__struct_config__.tag is not None else []
        fields = msgspec.structs.fields(struct)
        schema["required"] = tag + [
            field.encode_name for field in fields if UnsetType not in get_args(field.type)
        ]
        for field in fields:
            schema["properties"][field.encode_name].pop("default", None)
            _require_sent_fields(field.type, schemas)


def _structs_in(kind: Any) -> Iterator[type[Struct]]:
    if isinstance(kind, type) and issubclass(kind, Struct):
        yield kind
    elif get_origin(kind) in (Union, UnionType, list, dict):
        for argument in get_args(kind):
            yield from _structs_in(argument)


def _channel(address: str, summary: str, kinds: Iterable[type[Struct]], query: Schema) -> Schema:
    return {
        "address": address,
        "summary": summary,
        "messages": {
            kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"} for kind in dict.fromkeys(kinds)
        },
        "bindings": {"ws": {"query": {"type": "object", "properties": query}}},
    }


def _operation(action: str, channel: str, kinds: Iterable[type[Struct]]) -> Schema:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{kind.__name__}"} for kind in kinds],
    }


def _message(kind: type[Struct], schemas: dict[str, Schema]) -> Schema:
    summary = schemas[kind.__name__].get("description", "").partition("\n")[0]
    message = {"name": kind.__struct_config__.tag, "payload": {"$ref": _REF.format(name=kind.__name__)}}
    return message | ({"summary": summary} if summary else {})


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes repeated values in full instead of anchors, and texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def represent_str(self, data: str) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


@lru_cache(maxsize=1)
def document() -> str:
    """Return the document as YAML."""
    return _dump(describe())


def document_at(address: str) -> str:
    """Return the document of the service at *address*. Only its servers differ, so they are replaced."""
    servers = _dump(_servers("http://127.0.0.1:8000", "local"))
    return document().replace(servers, _dump(_servers(address, "this")), 1)


def _servers(address: str, name: str) -> Schema:
    parts = urlsplit(address)
    server = {"host": parts.netloc, "protocol": "wss" if parts.scheme == "https" else "ws"}
    return {"servers": {name: server | ({"pathname": parts.path} if parts.path else {})}}


def _dump(document: Schema) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


@get("/asyncapi.yaml", include_in_schema=False, sync_to_thread=False)
def show_sockets(request: Request[Any, Any, Any], services: NamedDependency[Services]) -> Response[str]:
    """The contract of the sockets."""
    address = public_address(request, services.settings.public_url)
    return Response(document_at(address), media_type="application/yaml")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document())
