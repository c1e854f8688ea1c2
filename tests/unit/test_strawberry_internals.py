"""/graphql uses private parts of strawberry: each of them must exist."""

import ast
import inspect
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest
import strawberry
from graphql import GraphQLEnumType, GraphQLSchema
from strawberry.litestar import make_graphql_controller
from strawberry.schema import schema as schema_module
from strawberry.schema.name_converter import NameConverter
from strawberry.types import ExecutionContext

from headrace.api.graphql import controller, strawberry_internals

TESTED: Final = "0.341"
PACKAGE: Final = Path(strawberry_internals.__file__).parent


@strawberry.type
class Query:
    answer: int = 42


SCHEMA: Final = strawberry.Schema(query=Query)
CONTEXT: Final = ExecutionContext(
    query="{ answer }",
    schema=SCHEMA,
    allowed_operations=(),
    provided_operation_name=None,
)
CONTROLLER: Final = make_graphql_controller(SCHEMA)
PARTS: Final[list[tuple[Any, str]]] = [
    (NameConverter, "from_enum_value"),
    (strawberry.Schema, "process_errors"),
    (SCHEMA, "_schema"),
    (GraphQLEnumType, "coerce_output_value"),
    (CONTEXT, "_provided_operation_name"),
    (CONTEXT, "graphql_document"),
    (CONTEXT, "pre_execution_errors"),
    (CONTROLLER, "handle_http_get"),
    (CONTROLLER, "handle_http_post"),
    (CONTROLLER, "websocket_endpoint"),
    (CONTROLLER, "execute_single"),
    (CONTROLLER, "request_adapter_class"),
    (CONTROLLER, "create_response"),
    (CONTROLLER, "process_result"),
    (CONTROLLER, "encode_json"),
    (CONTEXT, "validation_rules"),
    (schema_module, "validate_document"),
]


@pytest.mark.parametrize(("owner", "name"), PARTS)
def test_strawberry_has_each_part_that_is_used(owner: Any, name: str) -> None:
    kind = owner if inspect.isclass(owner) else type(owner)

    assert hasattr(owner, name), (
        f"strawberry {version('strawberry-graphql')} has no {kind.__name__}.{name};"
        f" api/graphql was tested with {TESTED}"
    )


def test_the_underlying_schema_is_a_graphql_core_schema() -> None:
    assert isinstance(strawberry_internals.graphql_schema(SCHEMA), GraphQLSchema)


def test_the_installed_version_is_the_tested_one() -> None:
    installed = version("strawberry-graphql")

    assert installed.rpartition(".")[0] == TESTED, (
        f"strawberry {installed} is installed; api/graphql was tested with {TESTED}: compare its"
        " strawberry_internals.py and controller.py with their bases, then change TESTED and the pin in"
        " pyproject.toml"
    )


def test_every_part_that_the_controller_uses_is_checked() -> None:
    tree = ast.parse(inspect.getsource(controller))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"
    }

    assert used <= {name for owner, name in PARTS if owner is CONTROLLER}


def test_private_names_are_used_in_only_one_file() -> None:
    users = {
        path.name
        for path in PACKAGE.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and ast.unparse(node.value) not in ("self", "cls")
    }

    assert users == {"strawberry_internals.py"}
