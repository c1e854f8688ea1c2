"""How large a query is, and how large its answer can become. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
    is_object_type,
)
from msgspec import Struct

from headrace.api.graphql.pages import MOST

BOTTOMLESS: Final = 1_000_000
"""The depth of what is nested too deep to be measured."""

# How many items a list without a limit of its own is taken to have: as many as a job has tags.
_ITEMS: Final = 50
# What a JSON value counts: it has up to 256 KiB, where other fields have a few bytes.
_JSON_FIELDS: Final = 50
_DEEPEST_NESTING: Final = 100


class Size(Struct, frozen=True):
    """*depth*: levels of fields. *fields*: how many an answer has at most, JSON values counted as several."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0


class Measure:
    """Measures one operation. What the schema does not know counts, too: it is refused later."""

    def __init__(
        self,
        schema: GraphQLSchema,
        fragments: Mapping[str, FragmentDefinitionNode],
        operation: OperationDefinitionNode,
        variables: Mapping[str, Any],
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._operation = operation
        defaults = {
            one.variable.name.value: one.default_value for one in operation.variable_definitions or ()
        }
        self._variables = {name: _number(value) for name, value in defaults.items()} | dict(variables)
        # A fragment is measured once, however often it is used; one that is open holds itself.
        self._known: dict[str, Size] = {}
        self._open: set[str] = set()

    def size(self) -> Size:
        """The size of the operation."""
        return self._below(self._operation.selection_set, self._schema.query_type, 0)

    def _below(self, selected: SelectionSetNode | None, parent: Any, nesting: int) -> Size:
        if selected is None:
            return Size()
        if nesting > _DEEPEST_NESTING:
            return Size(depth=BOTTOMLESS)
        sizes = [self._of(one, parent, nesting + 1) for one in selected.selections]
        return Size(
            depth=max((size.depth for size in sizes), default=0),
            aliases=sum(size.aliases for size in sizes),
            fields=sum(size.fields for size in sizes),
        )

    def _of(self, node: SelectionNode, parent: Any, nesting: int) -> Size:
        if isinstance(node, FieldNode):
            return self._of_field(node, parent, nesting)
        if isinstance(node, FragmentSpreadNode):
            return self._of_fragment(node.name.value, nesting)
        if isinstance(node, InlineFragmentNode):
            return self._below(node.selection_set, self._condition(node) or parent, nesting)
        raise TypeError(node.kind)

    def _of_field(self, node: FieldNode, parent: Any, nesting: int) -> Size:
        name = node.name.value
        field = parent.fields.get(name) if is_object_type(parent) else None
        kind = field and get_named_type(field.type)
        below = self._below(node.selection_set, kind, nesting)
        aliases = below.aliases + (node.alias is not None)
        if name.startswith("__"):
            # What the schema tells of itself is deep and small.
            return Size(1, aliases, 1)
        itself = _JSON_FIELDS if kind is not None and kind.name == "JSON" else 1
        return Size(1 + below.depth, aliases, itself + self._items(field, node) * below.fields)

    def _of_fragment(self, name: str, nesting: int) -> Size:
        fragment = self._fragments.get(name)
        if fragment is None or name in self._open:
            return Size()
        if name not in self._known:
            self._open.add(name)
            self._known[name] = self._below(fragment.selection_set, self._condition(fragment), nesting)
            self._open.discard(name)
        return self._known[name]

    def _condition(self, node: InlineFragmentNode | FragmentDefinitionNode) -> Any:
        return node.type_condition and self._schema.get_type(node.type_condition.name.value)

    def _items(self, field: GraphQLField | None, node: FieldNode) -> int:
        """How many items the field has at most."""
        if field is None or not is_list_type(get_nullable_type(field.type)):
            return 1
        if "limit" not in field.args:
            return _ITEMS
        given = next((one.value for one in node.arguments or () if one.name.value == "limit"), None)
        limit = field.args["limit"].default_value if given is None else self._value(given)
        return min(max(limit, 1), MOST) if isinstance(limit, int) else MOST

    def _value(self, node: ValueNode) -> Any:
        return self._variables.get(node.name.value) if isinstance(node, VariableNode) else _number(node)


def _number(node: Any) -> int | None:
    # Longer ones are beyond every limit, and slow to read.
    return int(node.value) if isinstance(node, IntValueNode) and len(node.value) < 10 else None
