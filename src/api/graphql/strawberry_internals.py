"""The parts of strawberry that may change in any version. Only this file and the controller use them.

`tests/unit/test_strawberry_internals.py` names the part that a new version lacks.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import strawberry
from graphql import DocumentNode, GraphQLEnumType, GraphQLError, GraphQLSchema
from litestar import Controller
from strawberry.litestar import make_graphql_controller
from strawberry.schema import schema as schema_module
from strawberry.schema.name_converter import NameConverter
from strawberry.types import ExecutionContext
from strawberry.types.enum import EnumValue, StrawberryEnumDefinition

from headrace.api.graphql.merging import merge
from headrace.domain.jobs.states import JobState, StepState


class Names(NameConverter):
    """Converts fields to camelCase, and leaves states as they are in the REST API: `queued`."""

    def from_enum_value(self, enum: StrawberryEnumDefinition, enum_value: EnumValue) -> str:  # noqa: ARG002
        return str(enum_value.value)


class Schema(strawberry.Schema):
    """A schema that does not log errors, and sends states that only a newer release knows as they are."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for kind in self._schema.type_map.values():
            if isinstance(kind, GraphQLEnumType):
                kind.coerce_output_value = partial(_coerce_state, kind.coerce_output_value)  # type: ignore[method-assign]

    def process_errors(self, errors: list[GraphQLError], execution_context: Any = None) -> None:
        """Do nothing: `format_error` logs the errors that are bugs."""


def _coerce_state(coerce: Callable[[Any], str], value: Any) -> str:
    return str(value) if isinstance(value, JobState | StepState) else coerce(value)


def graphql_schema(schema: strawberry.Schema) -> GraphQLSchema:
    """Return graphql-core's schema behind strawberry's."""
    return schema._schema


def has_operation_name(context: ExecutionContext) -> bool:
    """Whether the request names the operation of the document to execute."""
    return context._provided_operation_name is not None


def validate_document(context: ExecutionContext, document: DocumentNode) -> list[GraphQLError]:
    """Validate the document of a request with strawberry's rules and those of its extensions."""
    return schema_module.validate_document(graphql_schema(context.schema), document, context.validation_rules)


def selected_names(info: strawberry.Info[Any, Any]) -> set[str]:
    """Return the names of the fields that a query selects of the objects of the field that is resolved."""
    field = info._raw_info
    below = [node.selection_set for node in field.field_nodes if node.selection_set is not None]
    return {node.name.value for nodes in merge(below, field.fragments).fields.values() for node in nodes}


def post_controller(schema: strawberry.Schema) -> type[Controller]:
    """Return strawberry's controller of /graphql without its routes for GET and WebSockets."""
    base = make_graphql_controller(
        schema, path="/graphql", graphql_ide=None, allow_queries_via_get=False, subscription_protocols=()
    )

    class PostController(base):  # type: ignore[misc, valid-type]
        handle_http_get = None
        websocket_endpoint = None

    return PostController
