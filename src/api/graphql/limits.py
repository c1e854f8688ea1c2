"""Limits on what a query may cost. They are checked on its text and variables, before it is executed."""

from collections.abc import Iterator
from typing import Any, Final

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    parse,
)
from strawberry.extensions import SchemaExtension
from strawberry.types import ExecutionContext

from headrace.api.graphql.measuring import Measure
from headrace.api.graphql.merging import merged_selections
from headrace.api.graphql.strawberry_internals import graphql_schema, has_operation_name, validate_document

MAX_TOKENS: Final = 2_000
MAX_DEPTH: Final = 10
MAX_ALIASES: Final = 30
# Fields of the answer. Each takes about 15 microseconds in the thread of the process.
MAX_FIELDS: Final = 15_000
# Selections of one field, or uses of fragments, at one place: validation compares each pair of them.
MAX_REPEATS: Final = 20
# All selections that validation compares; those of a fragment count at each place where it is used.
MAX_SELECTIONS: Final = 2_000


class LimitError(GraphQLError):
    """The query exceeds a limit. *code* names the limit."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, extensions={"code": code})
        self.code = code


class QueryLimits(SchemaExtension):
    """Parses and validates a query in strawberry's place, within limits."""

    def on_parse(self) -> Iterator[None]:
        self.execution_context.graphql_document = parse_query(self.execution_context.query or "")
        yield

    def on_validate(self) -> Iterator[None]:
        # With a list in place, even an empty one, strawberry does not validate the query again.
        self.execution_context.pre_execution_errors = _find_errors(self.execution_context)
        yield


def _find_errors(context: ExecutionContext) -> list[GraphQLError]:
    document = context.graphql_document
    if document is None:
        return []
    try:
        check_limits(graphql_schema(context.schema), document, context.variables or {})
        if not has_operation_name(context):
            _require_single_operation(document)
    except GraphQLError as error:
        return [error]
    return validate_document(context, document)


def parse_query(text: str) -> DocumentNode:
    """Parse a query.

    Raises:
        LimitError: it has too many tokens, comments included, or is nested too deep to be parsed.
        GraphQLSyntaxError: it is not a query.
    """
    try:
        return parse(text, max_tokens=MAX_TOKENS)
    except GraphQLSyntaxError as error:
        # The parser reports both limits only by the text of its message.
        if f"more than {MAX_TOKENS} tokens" in error.message:
            raise LimitError("too_many_tokens", f"a query has at most {MAX_TOKENS} tokens") from error
        if "nested too deeply" in error.message:
            raise _too_deep() from error
        raise


def check_limits(schema: GraphQLSchema, document: DocumentNode, variables: dict[str, Any]) -> None:
    """Check each operation of a document, and what its selections merge to.

    Raises:
        LimitError: a limit is exceeded.
    """
    fragments = {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    for operation in document.definitions:
        if not isinstance(operation, OperationDefinitionNode):
            continue
        size = Measure(schema, fragments, operation, variables).size()
        if size.depth > MAX_DEPTH:
            raise _too_deep()
        if size.aliases > MAX_ALIASES:
            raise LimitError(
                "too_many_aliases",
                f"a query has at most {MAX_ALIASES} aliases; this one has {size.aliases}",
            )
        if size.fields > MAX_FIELDS:
            raise LimitError(
                "query_too_complex",
                f"a query may ask for at most {MAX_FIELDS} fields and this one asks for {size.fields}:"
                " lower its limits",
            )
    _check_selections(document, fragments)


def _check_selections(document: DocumentNode, fragments: dict[str, FragmentDefinitionNode]) -> None:
    total = 0
    for place in merged_selections(document, fragments):
        if len(place.fragments) > MAX_REPEATS:
            raise _too_many(f"one field of a query uses at most {MAX_REPEATS} fragments")
        if any(len(nodes) > MAX_REPEATS for nodes in place.fields.values()):
            raise _too_many(f"a query selects a field at most {MAX_REPEATS} times at the same place")
        total += place.size
        if total > MAX_SELECTIONS:
            raise _too_many(f"written out without fragments, a query has at most {MAX_SELECTIONS} fields")


def _require_single_operation(document: DocumentNode) -> None:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if len(operations) > 1:
        raise GraphQLError("name the operation that is meant: there are several", operations[1])


def _too_many(message: str) -> LimitError:
    return LimitError("too_many_selections", message)


def _too_deep() -> LimitError:
    return LimitError("query_too_deep", f"a query has at most {MAX_DEPTH} levels of fields")
