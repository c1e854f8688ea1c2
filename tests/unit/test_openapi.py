"""The OpenAPI contract that the application generates."""

import re
from typing import Any

import pytest
from sqlalchemy import Column

from headrace.api.contract.openapi import contract_of
from headrace.api.middleware.access import is_public
from headrace.app import create_app
from headrace.domain.base import METADATA
from headrace.settings import Settings

# Routes outside the base path: probes, sign-in, GraphQL.
OUTSIDE = ("/health/", "/auth/", "/graphql")
INTERNAL_FIELDS = {
    "digest",
    "tokens",
    "secrets",
    "subject",
    "generation",
    "fence",
    "lease_owner",
    "due_order",
}


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    app = create_app(Settings(database_url="postgresql://nowhere/x"))
    return contract_of(app, allows_anonymous=False)


def calls(contract: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return method, path and description of every operation."""
    return [(method, path, call) for path, at in contract["paths"].items() for method, call in at.items()]


def test_every_successful_response_with_a_body_has_a_schema(contract: dict[str, Any]) -> None:
    bare = [
        (method, path, status)
        for method, path, call in calls(contract)
        for status, response in call["responses"].items()
        if status.startswith("2") and status != "204"
        for media in [response.get("content") or {"": {}}]
        if not all(content.get("schema") for content in media.values())
    ]

    assert len(calls(contract)) >= 50
    assert bare == []


def test_schema_names_do_not_contain_module_paths(contract: dict[str, Any]) -> None:
    names = set(contract["components"]["schemas"])
    references = set(re.findall(r"#/components/schemas/([^']+)'", str(contract)))

    assert [name for name in names if not re.fullmatch(r"\w+", name)] == []
    assert {"Page_FileView_", "Items_JobView_", "Page_TagView_"} <= names
    assert references <= names
    assert len(references) >= 20


def test_every_path_is_below_the_api_version_or_a_known_exception(contract: dict[str, Any]) -> None:
    paths = [path for path in contract["paths"] if not path.startswith(OUTSIDE)]

    assert [path for path in paths if not path.startswith("/api/v1/")] == []
    assert not any(is_public(path) for path in paths)


def test_paths_are_plural_and_lower_case(contract: dict[str, Any]) -> None:
    words = {path.split("/")[3] for path in contract["paths"] if path.startswith("/api/v1/")}

    assert {word for word in words if not re.fullmatch(r"[a-z][a-z0-9-]*", word)} == set()
    assert {word for word in words if not word.endswith("s")} == {"me", "audit-log", "tone3000"}


def test_operations_are_grouped_by_their_resource(contract: dict[str, Any]) -> None:
    groups: dict[str, set[str]] = {}
    for _, path, call in calls(contract):
        (tag,) = call["tags"]
        groups.setdefault(tag, set()).add(path.removeprefix("/api/v1").split("/")[1])

    assert groups.pop("accounts") == {"api-keys", "users", "me", "audit-log"}
    assert groups.pop("numbers") == {"stats", "queues", "workers"}
    assert {tag for tag, paths in groups.items() if paths != {tag}} == set()
    assert groups.keys() >= {"jobs", "files", "pipelines", "presets", "tags", "health", "auth"}


@pytest.mark.parametrize(
    ("schema", "field", "table", "column"),
    [
        ("SavePreset", "title", "presets", "title"),
        ("SavePreset", "description", "presets", "description"),
        ("SavePreset", "pipeline", "presets", "pipeline"),
        ("PatchPreset", "title", "presets", "title"),
        ("SubmitJob", "pipeline", "jobs", "pipeline"),
        ("SubmitJob", "queue", "jobs", "queue"),
        ("CreateTag", "name", "tags", "name"),
        ("MakeApiKey", "name", "api_keys", "name"),
    ],
)
def test_a_length_limit_is_the_same_in_the_contract_and_in_the_column(
    contract: dict[str, Any], schema: str, field: str, table: str, column: str
) -> None:
    database_column: Column[Any] = METADATA.tables[table].columns[column]

    documented = contract["components"]["schemas"][schema]["properties"][field]

    bounds = [
        variant["maxLength"]
        for variant in (documented, *documented.get("anyOf", []))
        if "maxLength" in variant
    ]
    assert bounds == [database_column.type.length]  # type: ignore[attr-defined]


def test_no_schema_contains_internal_fields(contract: dict[str, Any]) -> None:
    shown = {
        (name, field)
        for name, schema in contract["components"]["schemas"].items()
        for field in schema.get("properties", {})
    }

    assert len(shown) >= 100
    assert {shown_field for shown_field in shown if shown_field[1] in INTERNAL_FIELDS} == set()
