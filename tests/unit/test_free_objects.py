"""Both contracts say which objects are free-form."""

from collections.abc import Iterator
from typing import Any

import pytest

from headrace.api.contract.asyncapi import describe
from headrace.api.contract.openapi import contract_of
from headrace.app import create_app
from headrace.settings import Settings


def openapi() -> dict[str, Any]:
    return contract_of(create_app(Settings(database_url="postgresql://nowhere/x")), allows_anonymous=False)


def objects(part: Any) -> Iterator[dict[str, Any]]:
    """Yield each schema of an object in a contract."""
    if isinstance(part, list):
        for item in part:
            yield from objects(item)
    elif isinstance(part, dict):
        if part.get("type") == "object":
            yield part
        for item in part.values():
            yield from objects(item)


@pytest.mark.parametrize("contract", [openapi, describe])
def test_no_object_without_known_fields_is_left_unsaid(contract: Any) -> None:
    schemas = list(objects(contract()["components"]["schemas"]))

    assert len(schemas) >= 20
    assert [schema for schema in schemas if not {"properties", "additionalProperties"} & schema.keys()] == []


def test_the_state_of_a_list_is_a_list() -> None:
    parameters = openapi()["paths"]["/api/v1/jobs"]["get"]["parameters"]
    (state,) = [parameter["schema"] for parameter in parameters if parameter["name"] == "state"]

    assert (state["type"], state["items"]["type"]) == ("array", "string")
    assert "queued" in state["items"]["enum"]
