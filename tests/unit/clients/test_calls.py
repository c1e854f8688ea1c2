"""The bodies of calls: params in every form in which an author may have them."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from pydantic import BaseModel, Field, computed_field

from headrace_client import calls


class Size(Struct):
    width: int


@dataclass
class Spot:
    x: int


class Price(BaseModel):
    value: Decimal = Field(alias="unitPrice")

    @computed_field
    def double(self) -> Decimal:
        return 2 * self.value


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (None, {}),
        ({"a": 1}, {"a": 1}),
        (Size(3), {"width": 3}),
        (Spot(4), {"x": 4}),
        (Price(unitPrice=Decimal("1.50")), {"unitPrice": "1.50"}),
        ({"price": [Price(unitPrice=Decimal(2))]}, {"price": [{"unitPrice": "2"}]}),
    ],
)
def test_params_become_the_json_that_their_pipeline_reads(params: Any, expected: dict[str, Any]) -> None:
    body = calls.submit("priced", params, None, {}).body
    assert isinstance(body, bytes)
    assert msgspec.json.decode(body) == {"pipeline": "priced", "params": expected}


def test_another_object_is_refused_with_its_type() -> None:
    with pytest.raises(TypeError, match="Encoding objects of type object is unsupported"):
        calls.submit("priced", {"a": object()}, None, {})
