"""The schema of /graphql, and its written form: `python -m api.graphql.schema docs/schema.graphql`."""

import sys
from pathlib import Path
from typing import Any

import strawberry
from graphql import GraphQLError
from strawberry.extensions import DisableIntrospection
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.name_converter import NameConverter
from strawberry.types.enum import EnumValue, StrawberryEnumDefinition

from headrace.api.graphql.limits import QueryLimits
from headrace.api.graphql.queries import Query
from headrace.api.graphql.types import BIG_INT, BigInt


class _Names(NameConverter):
    """Fields in camelCase; states as everywhere else: `queued`."""

    def from_enum_value(self, enum: StrawberryEnumDefinition, enum_value: EnumValue) -> str:  # noqa: ARG002
        return str(enum_value.value)


class _Schema(strawberry.Schema):
    def process_errors(self, errors: list[GraphQLError], execution_context: Any = None) -> None:
        """Nothing is logged here: what is to be logged is, where errors are told."""


def build_schema(*, may_introspect: bool) -> strawberry.Schema:
    """The schema with its limits; *may_introspect*: whether it tells of itself."""
    return _Schema(
        query=Query,
        config=StrawberryConfig(
            name_converter=_Names(),
            scalar_map={BigInt: BIG_INT},
            disable_field_suggestions=not may_introspect,
        ),
        extensions=[QueryLimits] if may_introspect else [QueryLimits, DisableIntrospection],
    )


def written() -> str:
    """The schema as text, as `docs/schema.graphql` has it."""
    return build_schema(may_introspect=True).as_str() + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(written())
