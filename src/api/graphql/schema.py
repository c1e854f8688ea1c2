"""The schema of /graphql. `python -m headrace.api.graphql.schema docs/schema.graphql` writes it as text."""

import sys
from pathlib import Path

import strawberry
from strawberry.extensions import DisableIntrospection
from strawberry.schema.config import StrawberryConfig

from headrace.api.graphql.json_values import JSON, JSON_VALUE
from headrace.api.graphql.limits import QueryLimits
from headrace.api.graphql.queries import Query
from headrace.api.graphql.strawberry_internals import Names, Schema
from headrace.api.graphql.types import BIG_INT, BigInt


def build_schema(*, may_introspect: bool) -> strawberry.Schema:
    """Return the schema with its limits. *may_introspect*: clients may query the schema itself."""
    return Schema(
        query=Query,
        config=StrawberryConfig(
            name_converter=Names(),
            scalar_map={BigInt: BIG_INT, JSON: JSON_VALUE},
            disable_field_suggestions=not may_introspect,
        ),
        extensions=[QueryLimits] if may_introspect else [QueryLimits, DisableIntrospection],
    )


def written() -> str:
    """Return the schema as text, as it stands in `docs/schema.graphql`."""
    return build_schema(may_introspect=True).as_str() + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(written())
