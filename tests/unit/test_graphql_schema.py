"""The published GraphQL schema is current and uses the field names of the REST API."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLEnumType, GraphQLObjectType
from strawberry.utils.str_converters import to_camel_case

from headrace.api.graphql import schema
from headrace.api.jobs.schemas import JobView, StepView
from headrace.api.pipelines import PipelineView
from headrace.domain.jobs.states import JobState, StepState

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "src" / "web" / "vendor" / "graphiql"


def type_of(name: str) -> Any:
    return schema.build_schema(may_introspect=True)._schema.type_map[name]


def test_the_published_schema_matches_the_code() -> None:
    assert (ROOT / "docs" / "schema.graphql").read_text() == schema.written(), "run: make contract"


@pytest.mark.parametrize(("name", "view"), [("Job", JobView), ("Step", StepView), ("Pipeline", PipelineView)])
def test_graphql_has_every_field_of_the_rest_api(name: str, view: Any) -> None:
    kind = type_of(name)
    assert isinstance(kind, GraphQLObjectType)

    # A query names the result or an output if it wants it, so nothing is left out.
    fields = {to_camel_case(field) for field in view.__struct_fields__ if not field.endswith("_omitted")}

    assert fields - set(kind.fields) == set()


@pytest.mark.parametrize(("name", "states"), [("JobState", JobState), ("StepState", StepState)])
def test_graphql_states_have_the_names_of_the_domain_states(name: str, states: Any) -> None:
    kind = type_of(name)
    assert isinstance(kind, GraphQLEnumType)

    assert list(kind.values) == [state.value for state in states]


def test_graphql_has_no_mutations_and_no_subscriptions() -> None:
    built = schema.build_schema(may_introspect=True)._schema

    assert (built.mutation_type, built.subscription_type) == (None, None)


def test_the_vendored_explorer_matches_its_checksums() -> None:
    lines = (VENDOR / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}

    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.suffix in (".js", ".css")
    }

    assert digests == sums
