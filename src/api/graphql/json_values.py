"""The scalar JSON: values are sent as they are stored, or refused where an answer has no room for them."""

from typing import Any, Final, NewType

import strawberry

from headrace.api.graphql.limits import LimitError
from headrace.domain.omissions import MAX_LISTED_BYTES, OMITTED

JSON = NewType("JSON", object)


def _serialize(value: Any) -> Any:
    """Return *value*, which may be a `msgspec.Raw`.

    Raises:
        LimitError: the answer has no room for it. Its field becomes null, or the object around it.
    """
    if value is OMITTED:
        raise LimitError(
            "response_too_large",
            f"the JSON values of a response have at most {MAX_LISTED_BYTES} bytes together: ask for fewer"
            " objects or values, or for this one alone",
        )
    return value


JSON_VALUE: Final = strawberry.scalar(
    name="JSON",
    description=(
        "The `JSON` scalar type represents JSON values as specified by"
        " [ECMA-404](https://ecma-international.org/wp-content/uploads/ECMA-404_2nd_edition_december_2017.pdf)."
    ),
    specified_by_url=(
        "https://ecma-international.org/wp-content/uploads/ECMA-404_2nd_edition_december_2017.pdf"
    ),
    serialize=_serialize,
    parse_value=lambda value: value,
)
