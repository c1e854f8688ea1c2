"""What a query may cost: judged by its text and variables, before anything else is done with it."""

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

from headrace.api.graphql.measuring import Measure
from headrace.api.graphql.merging import places

TOKENS: Final = 2_000
DEPTH: Final = 10
ALIASES: Final = 30
# Fields that the answer may have; each takes about 15 microseconds, in which the process does nothing else.
COMPLEXITY: Final = 15_000
# Of one field, and of fragments, at one place: each is compared with each when the query is validated.
ALIKE: Final = 20
# Of all that is so compared, with what stands in a fragment counted wherever it is used.
SELECTIONS: Final = 2_000


class LimitError(GraphQLError):
    """The query asks for too much. *code* tells which limit it is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, extensions={"code": code})
        self.code = code


class QueryLimits(SchemaExtension):
    """Refuses a query that is beyond a limit, in its parsing or before its validation."""

    def on_parse(self) -> Iterator[None]:
        self.execution_context.graphql_document = read(self.execution_context.query or "")
        yield

    def on_validate(self) -> Iterator[None]:
        context = self.execution_context
        try:
            if context.graphql_document is not None:
                judge(context.schema._schema, context.graphql_document, context.variables or {})
                if context._provided_operation_name is None:
                    _only_operation(context.graphql_document)
        except GraphQLError as error:
            # Where there are errors already, the rules of validation are not asked.
            context.pre_execution_errors = [error]
        yield


def read(text: str) -> DocumentNode:
    """Parse a query.

    Raises:
        LimitError: it has too many tokens, comments included, or is nested too deep to be read.
        GraphQLSyntaxError: it is none.
    """
    try:
        return parse(text, max_tokens=TOKENS)
    except GraphQLSyntaxError as error:
        # The parser gives up with a sentence; it has no other sign.
        if f"more than {TOKENS} tokens" in error.message:
            raise LimitError("too_many_tokens", f"a query has at most {TOKENS} tokens") from error
        if "nested too deeply" in error.message:
            raise _too_deep() from error
        raise


def judge(schema: GraphQLSchema, document: DocumentNode, variables: dict[str, Any]) -> None:
    """Hold a query against the limits, each of its operations by itself.

    Raises:
        LimitError: it is beyond one.
    """
    fragments = {
        one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)
    }
    for operation in document.definitions:
        if not isinstance(operation, OperationDefinitionNode):
            continue
        size = Measure(schema, fragments, operation, variables).size()
        if size.depth > DEPTH:
            raise _too_deep()
        if size.aliases > ALIASES:
            raise LimitError(
                "too_many_aliases", f"a query has at most {ALIASES} aliases; this one has {size.aliases}"
            )
        if size.fields > COMPLEXITY:
            raise LimitError(
                "query_too_complex",
                f"a query may ask for at most {COMPLEXITY} fields and this one asks for {size.fields}:"
                " lower its limits",
            )
    _judge_places(document, fragments)


def _judge_places(document: DocumentNode, fragments: dict[str, FragmentDefinitionNode]) -> None:
    selections = 0
    for place in places(document, fragments):
        if len(place.fragments) > ALIKE:
            raise _too_many(f"one field of a query uses at most {ALIKE} fragments")
        if any(len(nodes) > ALIKE for nodes in place.fields.values()):
            raise _too_many(f"a query selects a field at most {ALIKE} times at the same place")
        selections += place.selections
        if selections > SELECTIONS:
            raise _too_many(f"written out without fragments, a query has at most {SELECTIONS} fields")


def _only_operation(document: DocumentNode) -> None:
    operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    if len(operations) > 1:
        raise GraphQLError("name the operation that is meant: there are several", operations[1])


def _too_many(message: str) -> LimitError:
    return LimitError("too_many_selections", message)


def _too_deep() -> LimitError:
    return LimitError("query_too_deep", f"a query has at most {DEPTH} levels of fields")
