"""References to objects of the service: their ids, or the objects themselves."""

from typing import Protocol
from uuid import UUID


class Identified(Protocol):
    """An object that a call has returned, such as a `Job` or a `File`."""

    @property
    def id(self) -> UUID: ...


Reference = Identified | UUID | str


def id_of(reference: Reference) -> str:
    """Return the id of an object as text."""
    return str(reference if isinstance(reference, UUID | str) else reference.id)
