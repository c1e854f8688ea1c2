"""/openapi.json: Litestar's contract made whole: exact bodies, every refusal, and who may ask."""

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
from headrace.api.middleware.access import is_public
from headrace.api.schemas import Problem

Schema = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_NO_NUL: Final = r"^[^\u0000]*$"
_BINARY: Final[Schema] = {"type": "string", "format": "binary"}
_SCHEMES: Final[Schema] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, a session's token, or a job token (in the query, too, as `token`).",
    },
    "session": {"type": "apiKey", "in": "cookie", "name": ACCESS_COOKIE},
}
_RETRY: Final[Schema] = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string"}, "required": True}
}
_CHALLENGE: Final[Schema] = {
    "WWW-Authenticate": {"description": "How to sign in.", "schema": {"type": "string"}, "required": True}
}
_HEADERS: Final = {401: _CHALLENGE, 429: _RETRY, 503: _RETRY}
_UNSAFE: Final = ("post", "put", "patch", "delete")
_REDIRECT: Final[Schema] = {
    "description": "Where to go on.",
    "headers": {"Location": {"schema": {"type": "string"}, "required": True}},
}
# What an operation answers besides its one kind of success.
_OTHER_ANSWERS: Final[dict[str, dict[int, Schema]]] = {
    "downloadFile": {
        200: {"description": "The bytes.", "content": {"*/*": {"schema": _BINARY}}},
        206: {"description": "One range of the bytes.", "content": {"*/*": {"schema": _BINARY}}},
        304: {"description": "Not changed since."},
        416: {"description": "Nothing of the file is in that range.", "content": {_PROBLEM: {}}},
    },
    "signIn": {302: _REDIRECT},
    "finishSignIn": {302: _REDIRECT},
    "streamJob": {
        200: {"description": "Frames.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
        204: {"description": "The job is over, and all its events were sent."},
    },
    "ready": {
        503: {
            "description": "PostgreSQL or its schema is missing.",
            "content": {_JSON: {"schema": {"$ref": _REF.format(name="Health")}}},
        }
    },
}


def contract_of(app: Litestar, *, lets_everybody_in: bool) -> Schema:
    """The OpenAPI document of *app*; *lets_everybody_in*: nothing has to be shown, as in local mode."""
    document = app.openapi_schema.to_schema()
    handlers = dict(_handlers(app))
    bodies = {name: _types(handler) for name, handler in handlers.items()}
    types = {kind for pair in bodies.values() for kind in pair if kind is not None} | {Problem}
    ordered = sorted(types, key=str)
    references, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    shown = dict(zip(ordered, references, strict=True))
    document["components"] = {"schemas": components, "securitySchemes": _SCHEMES}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            handler = handlers[operation["operationId"]]
            taken, given = bodies[operation["operationId"]]
            if taken is not None:
                may_be_missing = handler.parsed_fn_signature.parameters["data"].has_default
                operation["requestBody"] = {
                    "required": not may_be_missing,
                    "content": {_JSON: {"schema": shown[taken]}},
                }
            if given is not None:
                answer = operation["responses"][str(handler.status_code)]
                answer["content"] = {_JSON: {"schema": shown[given]}}
            _complete(path, method, operation, lets_everybody_in=lets_everybody_in)
    return document


def _handlers(app: Litestar) -> Iterator[tuple[str, HTTPRouteHandler]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if isinstance(handler.operation_id, str):
                    yield handler.operation_id, handler


def _types(handler: HTTPRouteHandler) -> tuple[Any, Any]:
    """The structs that the handler takes and gives; None where it is no struct."""
    signature = handler.parsed_fn_signature
    given = signature.return_type.annotation
    if get_origin(given) is Response:
        (given,) = get_args(given)
    taken = signature.parameters["data"].annotation if "data" in signature.parameters else None
    kinds = [kind for kind in get_args(taken) if kind is not type(None)] if _is_union(taken) else []
    shown = [kind for kind in get_args(given) if kind is not type(None)] if _is_union(given) else [given]
    is_struct = len(shown) == 1 and shown[0] not in (Any, type(None), Redirect)
    return kinds[0] if kinds else taken, shown[0] if is_struct else None


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType)


def _complete(path: str, method: str, operation: Schema, *, lets_everybody_in: bool) -> None:
    name = operation["operationId"]
    guarded = not is_public(path)
    for parameter in operation.get("parameters", []):
        parameter["schema"] = _of_text(parameter["schema"])
    if name == "uploadFile":
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": _UPLOAD}}}
    responses = operation["responses"]
    responses.pop("400", None)
    for status, answer in _OTHER_ANSWERS.get(name, {}).items():
        responses[str(status)] = answer
    for status in _refusals(path, method, operation, guarded=guarded):
        responses.setdefault(str(status), _refusal(status))
    if guarded:
        anybody: list[Schema] = [{}] if lets_everybody_in else []
        operation["security"] = [*anybody, {"bearer": []}, {"session": []}]
    else:
        operation["security"] = []


_UPLOAD: Final[Schema] = {
    "type": "object",
    "properties": {"file": _BINARY},
    "required": ["file"],
    "additionalProperties": False,
}


def _refusals(path: str, method: str, operation: Schema, *, guarded: bool) -> Iterator[int]:
    if guarded or path.startswith("/auth/"):
        yield from (401, 403, 422, 429, 503)
    if path.startswith("/auth/"):
        yield from (400, 404)
    if "{" in path:
        yield 404
    if method in _UNSAFE:
        yield from (400, 409)
    if "requestBody" in operation:
        yield from (413, 415)


def _refusal(status: int) -> Schema:
    answer: Schema = {
        "description": HTTPStatus(status).phrase,
        "content": {_PROBLEM: {"schema": {"$ref": _REF.format(name="Problem")}}},
    }
    if status in _HEADERS:
        answer["headers"] = _HEADERS[status]
    return answer


def _of_text(schema: Schema) -> Schema:
    """The schema of a parameter, which is text: never null, only left out, and without the character NUL."""
    alternatives = [one for one in schema.get("oneOf", []) if one != {"type": "null"}]
    if len(alternatives) == 1:
        rest = {name: value for name, value in schema.items() if name not in ("oneOf", "default")}
        schema = {**alternatives[0], **rest}
    is_free = schema.get("type") == "string" and not {"format", "enum", "pattern"} & schema.keys()
    return {**schema, "pattern": _NO_NUL} if is_free else schema
