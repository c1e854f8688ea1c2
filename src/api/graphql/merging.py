"""What a query selects at each place of its answer, fragments included. Pure.

Validation compares what has one name there pair by pair.
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


class Place(Struct):
    """One place of an answer: its *fields* by their names there, and the names of the *fragments* used."""

    fields: dict[str, list[FieldNode]]
    fragments: list[str]

    @property
    def selections(self) -> int:
        return len(self.fragments) + sum(len(nodes) for nodes in self.fields.values())


def places(document: DocumentNode, fragments: Mapping[str, FragmentDefinitionNode]) -> Iterator[Place]:
    """Every place of the answers to *document*, and those of fragments that nothing uses.

    There is no end to them where fragments hold themselves, and they can be very many: stop in time.
    """
    used: set[str] = set()
    definitions = sorted(document.definitions, key=lambda one: isinstance(one, FragmentDefinitionNode))
    for one in definitions:
        if not isinstance(one, OperationDefinitionNode | FragmentDefinitionNode):
            continue
        if isinstance(one, FragmentDefinitionNode) and one is fragments[one.name.value]:
            if one.name.value in used:
                continue
            used.add(one.name.value)
        waiting: list[Sequence[SelectionSetNode]] = [[one.selection_set]]
        while waiting:
            place = _place(waiting.pop(), fragments)
            used.update(place.fragments)
            yield place
            for nodes in place.fields.values():
                below = [node.selection_set for node in nodes if node.selection_set is not None]
                if below:
                    waiting.append(below)


def _place(merged: Sequence[SelectionSetNode], fragments: Mapping[str, FragmentDefinitionNode]) -> Place:
    place = Place({}, [])
    waiting = list(merged)
    known: set[str] = set()
    while waiting:
        for node in waiting.pop().selections:
            if isinstance(node, FieldNode):
                name = (node.alias or node.name).value
                place.fields.setdefault(name, []).append(node)
            elif isinstance(node, InlineFragmentNode):
                waiting.append(node.selection_set)
            elif isinstance(node, FragmentSpreadNode):
                name = node.name.value
                place.fragments.append(name)
                if name in fragments and name not in known:
                    known.add(name)
                    waiting.append(fragments[name].selection_set)
    return place
