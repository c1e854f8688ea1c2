"""Limits on the cost of a query, computed from its text and variables."""

from typing import Any

import pytest
import strawberry
from graphql import get_introspection_query
from graphql.type import get_nullable_type, is_list_type, is_object_type
from strawberry import Schema
from strawberry.scalars import JSON

from headrace.api.graphql import schema as graph
from headrace.api.graphql.limits import (
    MAX_ALIASES,
    MAX_DEPTH,
    MAX_REPEATS,
    MAX_SELECTIONS,
    MAX_TOKENS,
    LimitError,
    QueryLimits,
    check_limits,
    parse_query,
)


@strawberry.type
class Name:
    text: str


@strawberry.type
class Node:
    id: int = 1
    value: JSON | None = None

    @strawberry.field
    def node(self) -> "Node":
        return Node()

    @strawberry.field
    def nodes(self, limit: int = 10) -> list["Node"]:
        return [Node() for _ in range(limit)]

    @strawberry.field
    def names(self) -> list[Name]:
        return []


NODES = Schema(query=Node, extensions=[QueryLimits])


def refusal(text: str, schema: Schema = NODES, **variables: Any) -> str | None:
    """Return the code of the limit that *text* exceeds."""
    try:
        check_limits(schema._schema, parse_query(text), variables)
    except LimitError as error:
        return error.code
    return None


def nested(levels: int) -> str:
    return "{" + "node{" * (levels - 1) + "id" + "}" * levels


def test_two_thousand_tokens_are_accepted_and_one_more_is_refused() -> None:
    assert refusal("#\n" * (MAX_TOKENS - 3) + "{id}") is None
    assert refusal("#\n" * (MAX_TOKENS - 2) + "{id}") == "too_many_tokens"
    assert refusal("{" + " id" * (MAX_TOKENS - 1) + "}") == "too_many_tokens"
    assert refusal("#\n" * MAX_TOKENS + "{id}") == "too_many_tokens"


def test_ten_levels_are_accepted_and_eleven_are_refused() -> None:
    assert refusal(nested(MAX_DEPTH)) is None
    assert refusal(nested(MAX_DEPTH + 1)) == "query_too_deep"
    assert refusal(nested(180)) == "query_too_deep"


@pytest.mark.parametrize("text", ["{node" * 900, "{" + "...{" * 300 + "id" + "}" * 301])
def test_a_query_that_is_too_deep_to_parse_is_refused_as_too_deep(text: str) -> None:
    assert refusal(text) == "query_too_deep"


def test_levels_in_fragments_count() -> None:
    below = "fragment below on Node " + nested(MAX_DEPTH - 1)

    assert refusal("{node{...below}}" + below) is None
    assert refusal("{node{node{...below}}}" + below) == "query_too_deep"
    assert refusal("{node{... on Node{node{...below}}}}" + below) == "query_too_deep"


def test_aliases_count_at_every_place_of_a_query() -> None:
    many = " ".join(f"a{place}: id" for place in range(MAX_ALIASES))

    assert refusal("{node{" + many + "}}") is None
    assert refusal("{x: node{" + many + "}}") == "too_many_aliases"
    assert (
        refusal("{node{...f} nodes(limit: 1){...f}} fragment f on Node{" + many + "}") == "too_many_aliases"
    )
    assert (
        refusal("{" + " ".join(f"a{place}: __typename" for place in range(600)) + "}") == "too_many_aliases"
    )


@pytest.mark.parametrize(
    ("text", "variables", "is_accepted"),
    [
        ("{nodes(limit: 100){nodes(limit: 49){id node{id}}}}", {}, True),
        ("{nodes(limit: 100){nodes(limit: 50){id node{id}}}}", {}, False),
        ("{nodes{nodes{nodes{nodes{id}}}}}", {}, True),
        ("{nodes{nodes{nodes{nodes{id node{id}}}}}}", {}, False),
        ("{nodes(limit: 99){value a: value b: value}}", {}, True),
        ("{nodes(limit: 100){value a: value b: value}}", {}, False),
        ("query q($n: Int!){nodes(limit: $n){nodes(limit: $n){id node{id}}}}", {"n": 70}, True),
        ("query q($n: Int!){nodes(limit: $n){nodes(limit: $n){id node{id}}}}", {"n": 71}, False),
        ("query q($n: Int = 71){nodes(limit: $n){nodes(limit: $n){id node{id}}}}", {}, False),
        ("query q($n: Int!){nodes(limit: $n){nodes(limit: $n){id node{id}}}}", {"n": "many"}, False),
        ("{nodes(limit: 99999999999999999999){nodes(limit: 1000){id node{id}}}}", {}, False),
        ("{nodes(limit: 100){names{text} nodes(limit: 32){id node{id}}}}", {}, True),
        ("{nodes(limit: 100){names{text} nodes(limit: 33){id node{id}}}}", {}, False),
    ],
)
def test_the_complexity_is_computed_from_the_limits_of_lists(
    text: str, variables: dict[str, Any], is_accepted: bool
) -> None:
    assert refusal(text, **variables) == (None if is_accepted else "query_too_complex")


def test_exponentially_growing_fragments_are_refused() -> None:
    doubling = " ".join(f"fragment f{n} on Node{{...f{n + 1} ...f{n + 1}}}" for n in range(60))

    assert refusal("{nodes{...f0}}" + doubling + "fragment f60 on Node{id}") == "query_too_complex"


def test_json_values_of_many_jobs_are_too_complex() -> None:
    schema = graph.build_schema(may_introspect=False)
    aliases = " ".join(f"a{place}: jobs(limit: 100) {{ meta }}" for place in range(20))

    assert refusal("{" + aliases + "}", schema) == "query_too_complex"
    assert refusal("{ jobs(limit: 100) { params meta } }", schema) is None
    assert refusal("{ jobs(limit: 100) { params meta result } }", schema) == "query_too_complex"
    assert refusal("{ jobs(limit: 20) { steps { output } } }", schema) == "query_too_complex"
    assert refusal("{ pipelines(limit: 100) { paramsSchema resultSchema name } }", schema) is None
    assert (
        refusal("{ pipelines(limit: 100) { paramsSchema resultSchema a: paramsSchema } }", schema) is not None
    )


def test_each_of_a_jobs_fifty_tags_counts() -> None:
    schema = graph.build_schema(may_introspect=False)

    assert refusal("{ jobs(limit: 100) { tags { id name } } }", schema) is None
    assert refusal("{ jobs(limit: 100) { tags { id name a: name } } }", schema) == "query_too_complex"


def repeated_selections(count: int) -> list[str]:
    """Return queries that select the same field *count* times in one place."""
    spreads = "".join(f"...f{place} " for place in range(count))
    fragments = "".join(f" fragment f{place} on Node{{a{place} x{{...g}}}}" for place in range(count))
    return [
        "{" + "node{id} " * count + "}",
        "{node{" + "x{id} " * (count // 2) + "} node{" + "...{x{id}} " * (count - count // 2) + "}}",
        "{node{" + "id " * (count - 1) + "...f}} fragment f on Node{id}",
        "{node{" + "...f " * count + "}} fragment f on Node{id}",
        "{node{" + spreads + "}} fragment g on Node{id}" + fragments,
        "{id} fragment unused on Node{" + "node{id} " * count + "}",
        "{id ...f} fragment f on Node{" + "node{id} " * count + "} fragment f on Node{id}",
        "{id ...f} fragment f on Node{id} fragment f on Node{" + "node{id} " * count + "}",
        "{id ...f} fragment f on Node{id} query other{" + "node{id} " * count + "}",
    ]


def test_twenty_repeats_of_a_field_are_accepted_and_one_more_is_refused() -> None:
    assert [refusal(text) for text in repeated_selections(MAX_REPEATS)] == [None] * 9
    assert [refusal(text) for text in repeated_selections(MAX_REPEATS + 1)] == ["too_many_selections"] * 9


def test_the_fields_of_a_fragment_count_at_each_use() -> None:
    fragment = " fragment f on Node{" + " ".join(f"x{place}" for place in range(98)) + "}"
    places = MAX_SELECTIONS // 100

    assert refusal("{" + " ".join(f"y{place}{{...f}}" for place in range(places)) + "}" + fragment) is None
    assert (
        refusal("{" + " ".join(f"y{place}{{...f}}" for place in range(places + 1)) + "}" + fragment)
        == "too_many_selections"
    )


def test_recursive_fragments_below_a_field_exceed_the_selection_limit() -> None:
    assert refusal("{node{...a}} fragment a on Node{node{...a}}") == "too_many_selections"


def test_directly_recursive_fragments_are_left_to_graphql_validation() -> None:
    assert refusal("{node{...a}} fragment a on Node{...b} fragment b on Node{...a id}") is None


def test_every_operation_of_a_document_is_checked() -> None:
    assert refusal("query small{node{id}} query large " + nested(MAX_DEPTH + 1)) == "query_too_deep"


def test_the_introspection_query_is_within_the_limits() -> None:
    assert refusal(get_introspection_query(), graph.build_schema(may_introspect=True)) is None


def test_every_list_has_a_limit_or_is_known_to_be_short() -> None:
    schema = graph.build_schema(may_introspect=True)._schema
    kinds = [kind for name, kind in schema.type_map.items() if not name.startswith("__")]

    unlimited = {
        f"{kind.name}.{name}"
        for kind in kinds
        if is_object_type(kind)
        for name, field in kind.fields.items()
        if is_list_type(get_nullable_type(field.type)) and "limit" not in field.args
    }

    assert unlimited == {"Job.tags", "Preset.tags", "Pipeline.steps", "PipelineStep.after", "Me.scopes"}


async def test_a_query_at_the_limit_is_executed_and_one_beyond_it_is_not() -> None:
    answered = await NODES.execute(nested(MAX_DEPTH), root_value=Node())
    refused = await NODES.execute(nested(MAX_DEPTH + 1), root_value=Node())

    assert answered.errors is None
    assert answered.data is not None
    assert refused.data is None
    assert [error.extensions for error in refused.errors or []] == [{"code": "query_too_deep"}]
