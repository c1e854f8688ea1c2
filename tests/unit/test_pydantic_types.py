"""Models of pydantic as params, items, outputs and results: their schemas, their faults and their JSON."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, RootModel, SecretStr, model_validator

from headrace import Pipeline, PipelineDefinitionError, StepContext, step
from headrace.domain.json_decoding import build_decoder
from headrace.domain.pipelines.catalogue import CachedPipeline
from headrace.domain.pipelines.schema_changes import narrowings
from headrace.domain.pipelines.schemas import type_schema
from headrace.domain.pipelines.service import ParamsInvalidError, check_params
from headrace.workers.outputs import compute_items, encode_output
from headrace.workers.values import OutputError
from support.worker_builders import returning

DAY = date(2030, 1, 2)


class Address(BaseModel):
    street: str
    number: int = Field(gt=0)


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    bark: int


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    home: Address | None = None


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    at: datetime
    price: Decimal = Field(alias="unitPrice")
    pet: Annotated[Dog | Cat, Field(discriminator="kind")]
    tags: set[str] = set()
    raw: bytes = b""

    @model_validator(mode="after")
    def _check(self) -> "Order":
        if self.price < 0:
            raise ValueError("the price is below 0")
        return self


class Parcel(Struct):
    to: Address
    back: Address | None = None
    others: dict[str, list[Address]] = {}


class Basket(TypedDict):
    order: Address
    note: NotRequired[str]


@dataclasses.dataclass
class Owner:
    pet: Dog | Cat


@pydantic.dataclasses.dataclass
class Size:
    width: int = Field(gt=0)


class Measured(BaseModel):
    value: float
    name: str = "a"

    @pydantic.computed_field
    def double(self) -> float:
        return 2 * self.value

    @pydantic.field_serializer("name")
    def _upper(self, name: str) -> str:
        return name.upper()


class Node(BaseModel):
    children: "list[Node]" = []


ORDER = Order(at=datetime(2030, 1, 2, tzinfo=UTC), unitPrice=Decimal("1.50"), pet=Dog(bark=3), tags={"a"})


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (Address, Address(street="a", number=1)),
        (Order, ORDER),
        (list[Order], [ORDER, ORDER]),
        (dict[str, Address], {"a": Address(street="a", number=1)}),
        (Address | None, None),
        (Address | None, Address(street="a", number=1)),
        (Dog | Cat, Cat(home=Address(street="a", number=1))),
        (list[int | Dog], [1, Dog(bark=2)]),
        (Parcel, Parcel(Address(street="a", number=1), others={"x": [Address(street="b", number=2)]})),
        (Basket, {"order": Address(street="a", number=1)}),
        (Owner, Owner(Cat())),
        (Size, Size(3)),
        (list[Size], [Size(3)]),
        (RootModel[list[int]], RootModel[list[int]]([1, 2])),
        (HttpUrl, HttpUrl("http://example.org/a")),
        (Node, Node(children=[Node(), Node(children=[Node()])])),
        (Measured, Measured(value=2, name="A")),
    ],
)
def test_a_value_is_read_as_it_was_returned(shape: Any, value: Any) -> None:
    encoded = encode_output(returning(shape), "mix", value, 10_000)
    read = build_decoder(shape)(encoded)
    assert read == value
    assert type(read) is type(value)


def test_a_model_is_stored_under_its_aliases_and_without_computed_fields() -> None:
    stored = msgspec.json.decode(encode_output(returning(Order), "mix", ORDER, 10_000))
    assert stored["unitPrice"] == "1.50"
    measured = encode_output(returning(Measured), "mix", Measured(value=2, name="A"), 10_000)
    assert measured == '{"value":2.0,"name":"A"}'


def test_a_model_is_read_as_a_dict_without_an_annotation() -> None:
    assert encode_output(returning(Any), "mix", [Dog(bark=1)], 100) == '[{"kind":"dog","bark":1}]'


@pytest.mark.parametrize(
    ("shape", "value", "reason"),
    [
        (
            Address,
            Dog(bark=1),
            "is not what its annotation says: Field required (and 1 more) - at `$.street`",
        ),
        (
            Parcel,
            Parcel(Address.model_construct(street=3, number=1)),
            "is not what its annotation says: Input should be a valid string, got `int` - at `$.to.street`",
        ),
        (
            list[Address],
            [{"street": "a", "number": 0}],
            "is not what its annotation says: Input should be greater than 0 - at `$[0].number`",
        ),
        (
            Measured,
            Measured(value=float("inf")),
            "is not what its annotation says: JSON has no inf - at `$.value`",
        ),
        (RootModel[list[float]], RootModel[list[float]]([1, float("nan")]), "JSON has no nan - at `$[1]`"),
        (
            Measured,
            Measured(value=1),
            "would not be read as it was returned: 'a' is read as 'A' - at `$.name`",
        ),
        (Dog, {"bark": "3"}, "would not be read as it was returned: `str` is read as `int` - at `$.bark`"),
        (Dog, {"bark": 3, "bite": 1}, "the key 'bite' is not read - at `$`"),
        (str, Dog(bark=1), "is not what its annotation says: Expected `str`, got `object`"),
        (Any, SecretStr, "cannot be stored as JSON"),
    ],
)
def test_another_value_is_refused_with_its_place_and_its_type(shape: Any, value: Any, reason: str) -> None:
    with pytest.raises(OutputError) as refused:
        encode_output(returning(shape), "mix[3]", value, 10_000)
    assert str(refused.value).startswith("the output of step 'mix[3]' ")
    assert reason in str(refused.value)


def test_a_secret_is_not_stored() -> None:
    with pytest.raises(OutputError) as refused:
        encode_output(returning(SecretStr), "mix", SecretStr("abc"), 100)
    assert "abc" not in str(refused.value)


def test_items_are_models() -> None:
    @step
    def carry(context: StepContext[Any], item: Dog) -> int:
        return item.bark

    def pipeline_of(items: Callable[[Any], list[Any]]) -> Pipeline:
        pipeline = Pipeline("carrying", params=Address)
        pipeline.add(carry, for_each=items)
        return pipeline

    node = pipeline_of(lambda _: [Dog(bark=1), Dog(bark=2)]).nodes["carry"]
    assert compute_items(node, None, 1_000) == ['{"kind":"dog","bark":1}', '{"kind":"dog","bark":2}']
    assert node.decode_item('{"bark":2}') == Dog(bark=2)
    wrong = pipeline_of(lambda _: [Dog(bark=1), {"bark": []}]).nodes["carry"]
    with pytest.raises(OutputError) as refused:
        compute_items(wrong, None, 1_000)
    assert refused.value.code == "items_invalid"
    assert str(refused.value) == (
        "item 1 of step 'carry' is not what its annotation says:"
        " Input should be a valid integer, got `array` - at `$.bark`"
    )


def faults(shape: Any, params: Any) -> list[tuple[str, str]]:
    schema = Pipeline("models", params=shape).params_schema()
    registered = CachedPipeline("models", hash(repr(shape)) % 2**31, schema, datetime.now(UTC), True)
    try:
        check_params(registered, params)
    except ParamsInvalidError as error:
        return [(fault.path, fault.message) for fault in error.faults]
    return []


VALID = {"at": "2030-01-02T03:04:05Z", "unitPrice": "1.5", "pet": {"kind": "dog", "bark": 1}}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"pet": {"kind": "cat", "home": {"street": "a", "number": 1}}}, []),
        (
            {"at": "yesterday"},
            [("$.params.at", '"yesterday" is not a date-time such as 2030-01-02T03:04:05Z')],
        ),
        ({"pet": {"kind": "dog", "bark": "x"}}, [("$.params.pet.bark", '"x" is not of type "integer"')]),
        ({"pet": {"kind": "cow"}}, [("$.params.pet.kind", '"cow" is not one of "dog", "cat"')]),
        (
            {"pet": {"kind": "cat", "home": {"street": "a", "number": 0}}},
            [("$.params.pet.home.number", "0 is less than or equal to the minimum of 0")],
        ),
    ],
)
def test_the_api_checks_params_against_the_schema_of_pydantic(
    change: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    params = VALID | change
    assert faults(Order, params) == expected
    decode = build_decoder(Order)
    if expected:
        with pytest.raises(msgspec.ValidationError):
            decode(msgspec.json.encode(params))
    else:
        assert isinstance(decode(msgspec.json.encode(params)), Order)


def test_the_schema_of_a_model_is_that_of_pydantic() -> None:
    definitions = type_schema(Address)["$defs"]
    assert definitions["Address"] == Address.model_json_schema()
    assert faults(Parcel, {"to": {"street": "a", "number": 0}})[0][0] == "$.params.to.number"


def test_a_struct_and_a_model_of_one_name_have_definitions_of_their_own() -> None:
    def build() -> Any:
        class Address(Struct):
            zip: int

        return Address

    both = msgspec.defstruct("Both", [("old", build()), ("new", Address)])
    definitions = type_schema(both)["$defs"]
    assert definitions.keys() == {"Both", "Address", "pydantic.Address"}
    assert faults(both, {"old": {"zip": 1}, "new": {"street": "a", "number": 1}}) == []


def test_what_only_the_code_of_a_model_refuses_is_said_by_the_worker() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"^the price is below 0$"):
        build_decoder(Order)(msgspec.json.encode(VALID | {"unitPrice": "-1"}))


class Unknown:
    pass


class UnionInStruct(Struct):
    pet: Dog | Cat


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (Unknown, "`Unknown` has no form in JSON; use a struct of msgspec, a dataclass, a TypedDict or"),
        (RootModel[list[int]], "params are a JSON object, such as a msgspec Struct or a pydantic model"),
        (UnionInStruct, "needs a model or a dataclass around it, not a struct"),
        (dict[int, Unknown], "`Unknown` has no form in JSON"),
    ],
)
def test_a_type_that_cannot_be_read_is_refused_in_a_whole_sentence(shape: Any, reason: str) -> None:
    with pytest.raises(PipelineDefinitionError) as refused:
        Pipeline("models", params=shape)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not str(refused.value).endswith(":")


class Before(BaseModel):
    pet: Annotated[Dog | Cat, Field(discriminator="kind")]
    size: int | None = None


class Wider(BaseModel):
    pet: Annotated[Dog | Cat, Field(discriminator="kind")] = Dog(bark=1)
    size: int | None = Field(None, description="in mm")
    colour: str = "red"


class Narrower(BaseModel):
    pet: Dog
    size: int


def test_a_version_may_change_a_model_as_it_may_change_a_struct() -> None:
    before, wider, narrower = (type_schema(shape) for shape in (Before, Wider, Narrower))
    assert narrowings(before, wider, "$") == []
    assert narrowings(before, narrower, "$") == [
        "$.pet: Cat with fields is no longer accepted",
        "$.size: null is no longer accepted",
        "$.size: is required now",
    ]


@pytest.mark.parametrize("value", [UUID(int=1), DAY])
def test_types_of_python_have_the_same_form_in_models_and_structs(value: Any) -> None:
    model = pydantic.create_model("Held", held=(type(value), ...))
    struct = msgspec.defstruct("Held", [("held", type(value))])
    assert encode_output(returning(model), "a", model(held=value), 100) == encode_output(
        returning(struct), "a", struct(value), 100
    )


class Delivery(Struct):
    to: Address
    weight: int


def test_a_fault_beside_a_model_is_told_as_in_a_struct_without_models() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"Expected `int`, got `str` - at `\$\.weight`"):
        build_decoder(Delivery)('{"to": {"street": "a", "number": 1}, "weight": "heavy"}')


class Machine:
    """A class that nobody can write as JSON."""


class Workshop(Struct):
    owner: Address
    machine: Machine


def test_a_class_without_a_form_in_json_is_refused_also_beside_a_model() -> None:
    with pytest.raises(TypeError, match="Machine` has no form in JSON"):
        type_schema(Workshop)


def test_a_type_that_nobody_can_read_is_refused_in_the_words_of_msgspec() -> None:
    with pytest.raises(TypeError, match="more than one"):
        type_schema(dict[str, list[int] | set[int]])


class Callback(BaseModel):
    call: Callable[[int], int]


def test_a_model_without_a_json_schema_is_refused() -> None:
    with pytest.raises(TypeError, match="JsonSchema"):
        type_schema(Callback)
