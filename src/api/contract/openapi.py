"""/openapi.json: Litestar's document, completed with exact bodies, all refusals and security."""

from collections.abc import Iterator
from http import HTTPStatus
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect
from litestar.routes import HTTPRoute

from headrace.api.auth.authentication import ACCESS_COOKIE
from headrace.api.contract.descriptions import describe_fields, describe_parameters
from headrace.api.contract.examples import add_examples
from headrace.api.contract.operations import SUMMARIES, TAGS, in_order_of_use
from headrace.api.middleware.access import is_public
from headrace.api.middleware.response_bodies import TAGGED
from headrace.api.schemas import Problem

Schema = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_NO_NUL: Final = r"^[^\u0000]*$"
_BINARY: Final[Schema] = {"type": "string", "format": "binary"}
# Generators skip an answer that has only a wildcard.
_BYTES: Final[Schema] = {"application/octet-stream": {"schema": _BINARY}, "*/*": {"schema": _BINARY}}
# Without a type: some tools compare it with the whole stream, others with each event.
_EVENTS: Final[Schema] = {
    "description": "Server-sent events. `data:` is a frame as JSON, `id:` the number of an event."
}
_SCHEMES: Final[Schema] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, a session's token, or a job token (also in the query, as `token`).",
    },
    "session": {"type": "apiKey", "in": "cookie", "name": ACCESS_COOKIE},
}
_RETRY: Final[Schema] = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string"}, "required": True}
}
_CHALLENGE: Final[Schema] = {
    "WWW-Authenticate": {"description": "How to sign in.", "schema": {"type": "string"}, "required": True}
}
_ENTITY_TAG: Final[Schema] = {
    "ETag": {"description": "For `If-None-Match`.", "schema": {"type": "string"}, "required": True}
}
_HEADERS: Final = {401: _CHALLENGE, 429: _RETRY, 503: _RETRY, 507: _RETRY}
_KEY_HEADER: Final = "idempotency-key"
_UNSAFE: Final = ("post", "put", "patch", "delete")
_REDIRECT: Final[Schema] = {
    "description": "The next address.",
    "headers": {"Location": {"schema": {"type": "string"}, "required": True}},
}
# The responses of operations that Litestar does not know.
_OTHER_RESPONSES: Final[dict[str, dict[int, Schema]]] = {
    "downloadFile": {
        200: {"description": "The bytes, in the media type of the file.", "content": _BYTES},
        206: {"description": "One range of the bytes.", "content": _BYTES},
        304: {"description": "Not changed since."},
        416: {"description": "Nothing of the file is in that range.", "content": {_PROBLEM: {}}},
    },
    "signIn": {302: _REDIRECT},
    "finishSignIn": {302: _REDIRECT},
    "streamJob": {
        200: {"description": "Frames.", "content": {"text/event-stream": {"schema": _EVENTS}}},
        204: {"description": "The job is over, and all its events were sent."},
    },
    "ready": {
        503: {
            "description": "PostgreSQL or its schema is missing, or PostgreSQL is read-only.",
            "content": {_JSON: {"schema": {"$ref": _REF.format(name="Health")}}},
        }
    },
}


def contract_of(app: Litestar, *, allows_anonymous: bool) -> Schema:
    """Return the OpenAPI document of *app*. *allows_anonymous*: no credential is needed (local mode)."""
    document = app.openapi_schema.to_schema()
    handlers = dict(_handlers(app))
    bodies = {name: _types(handler) for name, handler in handlers.items()}
    types = {kind for request, responses in bodies.values() for kind in (request, *responses)} - {None}
    types.add(Problem)
    ordered = sorted(types, key=str)
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    schema_of = dict(zip(ordered, schemas, strict=True))
    open_free_objects(components)
    document["components"] = {"schemas": components, "securitySchemes": _SCHEMES}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            handler = handlers[operation["operationId"]]
            request_type, response_types = bodies[operation["operationId"]]
            if request_type is not None:
                may_be_missing = handler.parsed_fn_signature.parameters["data"].has_default
                operation["requestBody"] = {
                    "required": not may_be_missing,
                    "content": {_JSON: {"schema": schema_of[request_type]}},
                }
            if response_types:
                response = operation["responses"][str(handler.status_code)]
                alternatives = [schema_of[kind] for kind in response_types]
                schema = {"anyOf": alternatives} if alternatives[1:] else alternatives[0]
                response["content"] = {_JSON: {"schema": schema}}
            if TAGGED in handler.opt:
                operation["responses"]["200"]["headers"] = _ENTITY_TAG
                operation["responses"]["304"] = {
                    "description": "The client has it: `If-None-Match` names it."
                }
            _complete(path, method, operation, allows_anonymous=allows_anonymous)
    document["paths"] = in_order_of_use(document["paths"])
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    describe_fields(components)
    return document


def published_below(prefix: str, contract: Schema) -> Schema:
    """Return *contract* for a service that a proxy publishes below *prefix*."""
    description = contract["info"]["description"].replace("{prefix}", prefix)
    return {
        **contract,
        "info": {**contract["info"], "description": description},
        "servers": [{"url": prefix or "/"}],
    }


def open_free_objects(schema: Any) -> None:
    """Say of each object without known fields that it may have any: generators would take it for empty."""
    if isinstance(schema, list):
        for part in schema:
            open_free_objects(part)
    elif isinstance(schema, dict):
        if schema.get("type") == "object" and not {"properties", "additionalProperties"} & schema.keys():
            schema["additionalProperties"] = True
        for part in schema.values():
            open_free_objects(part)


def _handlers(app: Litestar) -> Iterator[tuple[str, HTTPRouteHandler]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if isinstance(handler.operation_id, str):
                    yield handler.operation_id, handler


def _types(handler: HTTPRouteHandler) -> tuple[Any, list[Any]]:
    """Return the struct of the handler's request, None without one, and those that it may answer with."""
    signature = handler.parsed_fn_signature
    result = signature.return_type.annotation
    if get_origin(result) is Response:
        (result,) = get_args(result)
    body = signature.parameters["data"].annotation if "data" in signature.parameters else None
    responses = _alternatives(result)
    has_structs = not {Any, type(None), Redirect}.intersection(responses)
    return _alternatives(body)[0], responses if has_structs else []


def _alternatives(annotation: Any) -> list[Any]:
    """Return the members of a union without None, or the one type that *annotation* is."""
    if get_origin(annotation) not in (Union, UnionType):
        return [annotation]
    return [kind for kind in get_args(annotation) if kind is not type(None)]


def _complete(path: str, method: str, operation: Schema, *, allows_anonymous: bool) -> None:
    name = operation["operationId"]
    is_guarded = not is_public(path)
    for parameter in operation.get("parameters", []):
        parameter["schema"] = _parameter_schema(parameter["schema"])
    if name == "uploadFile":
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": _UPLOAD}}}
    responses = operation["responses"]
    responses.pop("400", None)
    for status, response in _OTHER_RESPONSES.get(name, {}).items():
        responses[str(status)] = response
    for status in _refusals(path, method, operation, is_guarded=is_guarded):
        responses.setdefault(str(status), _refusal(status))
    if name in SUMMARIES:
        operation["summary"] = SUMMARIES[name]
    describe_parameters(operation)
    add_examples(operation)
    if is_guarded:
        anonymous: list[Schema] = [{}] if allows_anonymous else []
        operation["security"] = [*anonymous, {"bearer": []}, {"session": []}]
    else:
        operation["security"] = []


_UPLOAD: Final[Schema] = {
    "type": "object",
    "properties": {"file": _BINARY},
    "required": ["file"],
    "additionalProperties": False,
}


def _refusals(path: str, method: str, operation: Schema, *, is_guarded: bool) -> Iterator[int]:
    # Every operation refuses query parameters that it does not have.
    yield from (414, 422)
    if is_guarded or path.startswith("/auth/"):
        yield from (401, 403, 429, 503)
    if path.startswith("/auth/"):
        yield from (400, 404)
    if "{" in path:
        yield 404
    if method in _UNSAFE:
        yield from (400, 409)
    if "requestBody" in operation:
        yield from (413, 415)
    if operation["operationId"] == "uploadFile":
        yield 507
    if any(parameter["name"].lower() == _KEY_HEADER for parameter in operation.get("parameters", ())):
        yield 410


def _refusal(status: int) -> Schema:
    response: Schema = {
        "description": HTTPStatus(status).phrase,
        "content": {_PROBLEM: {"schema": {"$ref": _REF.format(name="Problem")}}},
    }
    if status in _HEADERS:
        response["headers"] = _HEADERS[status]
    return response


def _parameter_schema(schema: Schema) -> Schema:
    """Return the schema of a parameter: text that may be absent, but not null, and has no character NUL."""
    alternatives = [kind for kind in schema.get("oneOf", []) if kind != {"type": "null"}]
    if len(alternatives) == 1:
        other_keys = {name: value for name, value in schema.items() if name not in ("oneOf", "default")}
        schema = {**alternatives[0], **other_keys}
    is_free = schema.get("type") == "string" and not {"format", "enum", "pattern"} & schema.keys()
    return {**schema, "pattern": _NO_NUL} if is_free else schema
