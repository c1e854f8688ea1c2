"""Measures the size of a query and the largest size of its answer. Pure."""

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

from headrace.api.graphql.paging import MAX_LIMIT

TOO_DEEP: Final = 1_000_000
"""The depth of a query that is nested too deep to be measured."""

# The assumed length of a list without an argument `limit`: the largest number of tags of a job.
_UNLIMITED_ITEMS: Final = 50
# A JSON value counts as many fields: it has up to 256 KiB, other fields have a few bytes.
_FIELDS_PER_JSON: Final = 50
_MAX_NESTING: Final = 100


class Size(Struct, frozen=True):
    """*depth*: levels of fields. *fields*: the most an answer can have. A JSON value counts as several."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0


class Measure:
    """Measures one operation. Fields that the schema lacks count as well; validation refuses them later."""

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
            definition.variable.name.value: definition.default_value
            for definition in operation.variable_definitions or ()
        }
        self._variables = {name: _number(value) for name, value in defaults.items()} | dict(variables)
        # Each fragment is measured once. A fragment that is met while it is measured contains itself.
        self._fragment_sizes: dict[str, Size] = {}
        self._measuring: set[str] = set()

    def size(self) -> Size:
        """Measure the operation."""
        return self._measure_selections(self._operation.selection_set, self._schema.query_type, 0)

    def _measure_selections(self, selected: SelectionSetNode | None, parent: Any, nesting: int) -> Size:
        if selected is None:
            return Size()
        if nesting > _MAX_NESTING:
            return Size(depth=TOO_DEEP)
        sizes = [self._measure(node, parent, nesting + 1) for node in selected.selections]
        return Size(
            depth=max((size.depth for size in sizes), default=0),
            aliases=sum(size.aliases for size in sizes),
            fields=sum(size.fields for size in sizes),
        )

    def _measure(self, node: SelectionNode, parent: Any, nesting: int) -> Size:
        if isinstance(node, FieldNode):
            return self._measure_field(node, parent, nesting)
        if isinstance(node, FragmentSpreadNode):
            return self._measure_fragment(node.name.value, nesting)
        if isinstance(node, InlineFragmentNode):
            return self._measure_selections(node.selection_set, self._condition_type(node) or parent, nesting)
        raise TypeError(node.kind)

    def _measure_field(self, node: FieldNode, parent: Any, nesting: int) -> Size:
        name = node.name.value
        field = parent.fields.get(name) if is_object_type(parent) else None
        kind = field and get_named_type(field.type)
        below = self._measure_selections(node.selection_set, kind, nesting)
        aliases = below.aliases + (node.alias is not None)
        if name.startswith("__"):
            # Introspection is nested deeply, but its answers are small.
            return Size(1, aliases, 1)
        own_fields = _FIELDS_PER_JSON if kind is not None and kind.name == "JSON" else 1
        return Size(1 + below.depth, aliases, own_fields + self._max_items(field, node) * below.fields)

    def _measure_fragment(self, name: str, nesting: int) -> Size:
        fragment = self._fragments.get(name)
        if fragment is None or name in self._measuring:
            return Size()
        if name not in self._fragment_sizes:
            self._measuring.add(name)
            self._fragment_sizes[name] = self._measure_selections(
                fragment.selection_set, self._condition_type(fragment), nesting
            )
            self._measuring.discard(name)
        return self._fragment_sizes[name]

    def _condition_type(self, node: InlineFragmentNode | FragmentDefinitionNode) -> Any:
        return node.type_condition and self._schema.get_type(node.type_condition.name.value)

    def _max_items(self, field: GraphQLField | None, node: FieldNode) -> int:
        """Return the largest number of items that the field can have."""
        if field is None or not is_list_type(get_nullable_type(field.type)):
            return 1
        if "limit" not in field.args:
            return _UNLIMITED_ITEMS
        argument = next((each.value for each in node.arguments or () if each.name.value == "limit"), None)
        limit = field.args["limit"].default_value if argument is None else self._value(argument)
        return min(max(limit, 1), MAX_LIMIT) if isinstance(limit, int) else MAX_LIMIT

    def _value(self, node: ValueNode) -> Any:
        return self._variables.get(node.name.value) if isinstance(node, VariableNode) else _number(node)


def _number(node: Any) -> int | None:
    # Longer numbers exceed every limit, and are slow to parse.
    return int(node.value) if isinstance(node, IntValueNode) and len(node.value) < 10 else None
