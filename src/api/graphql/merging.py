"""Merges the selections of a query as GraphQL does: by their place in the answer, fragments included. Pure.

Validation compares each pair of selections that have the same name at one place.
"""

from collections.abc import Iterator, Mapping, Sequence

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)
from msgspec import Struct


class MergedSelection(Struct):
    """One place of an answer: its *fields* by their names there, and the names of the *fragments* used."""

    fields: dict[str, list[FieldNode]]
    fragments: list[str]

    @property
    def size(self) -> int:
        """The number of selections at this place."""
        return len(self.fragments) + sum(len(nodes) for nodes in self.fields.values())


def merged_selections(
    document: DocumentNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterator[MergedSelection]:
    """Yield every place of the answers to *document*, and the places of unused fragments.

    The iterator is endless if fragments contain themselves, and can be very long: the caller must stop it.
    """
    used: set[str] = set()
    definitions = sorted(document.definitions, key=lambda node: isinstance(node, FragmentDefinitionNode))
    for definition in definitions:
        if not isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode):
            continue
        if isinstance(definition, FragmentDefinitionNode):
            name = definition.name.value
            if definition is fragments[name]:
                if name in used:
                    continue
                used.add(name)
        pending: list[Sequence[SelectionSetNode]] = [[definition.selection_set]]
        while pending:
            place = merge(pending.pop(), fragments)
            used.update(place.fragments)
            yield place
            for nodes in place.fields.values():
                below = [node.selection_set for node in nodes if node.selection_set is not None]
                if below:
                    pending.append(below)


def merge(
    selection_sets: Sequence[SelectionSetNode], fragments: Mapping[str, FragmentDefinitionNode]
) -> MergedSelection:
    """Merge the selections of one place."""
    place = MergedSelection({}, [])
    pending = list(selection_sets)
    merged: set[str] = set()
    while pending:
        for node in pending.pop().selections:
            if isinstance(node, FieldNode):
                name = (node.alias or node.name).value
                place.fields.setdefault(name, []).append(node)
            elif isinstance(node, InlineFragmentNode):
                pending.append(node.selection_set)
            elif isinstance(node, FragmentSpreadNode):
                name = node.name.value
                place.fragments.append(name)
                if name in fragments and name not in merged:
                    merged.add(name)
                    pending.append(fragments[name].selection_set)
    return place
