"""Decides what a worker does with a pipeline version that is registered already. Pure.

Workers of an older and a newer definition of one version may run side by side during a deployment. A
definition that another one has replaced is remembered as superseded: its workers go on serving, but they do
not register it again, unless no worker has confirmed the registered one for some minutes.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from headrace.domain.errors import HeadraceError
from headrace.domain.pipelines.stored_definition import StoredDefinition, breaking_changes

_MAX_NAMED_CHANGES: Final = 5

Step = Literal["confirm", "keep", "replace"]


class PipelineRefusedError(HeadraceError):
    """A worker must not serve this version of a pipeline."""

    def __init__(self, name: str, version: int, reason: str) -> None:
        super().__init__(f"pipeline {name!r} version {version} {reason}")
        self.name = name
        self.version = version


class PipelineChangedError(PipelineRefusedError):
    """The registered version differs in a way that breaks its jobs. *changes* name each path that differs."""

    def __init__(self, name: str, version: int, changes: list[str]) -> None:
        more = len(changes) - _MAX_NAMED_CHANGES
        named = "; ".join(changes[:_MAX_NAMED_CHANGES]) + (f"; and {more} more" if more > 0 else "")
        super().__init__(
            name,
            version,
            "differs from the registered one in what its jobs depend on; raise its version: " + named,
        )
        self.changes = changes


class Registered(Struct, frozen=True):
    """A row of `pipelines` as registering needs it.

    *is_confirmed*: a worker has served exactly this definition within the last minutes. *is_bound*: jobs may
    depend on it; a removed version that no job names is not.
    """

    definition: StoredDefinition
    updated_at: datetime
    superseded: list[str]
    is_confirmed: bool
    is_bound: bool


def next_step(
    key: tuple[str, int],
    row: Registered,
    own: StoredDefinition,
    *,
    may_replace: bool,
    is_start: bool,
    earlier: Iterable[StoredDefinition] = (),
) -> Step:
    """Return what to do with a registered version that a worker defines as *own*.

    *earlier*: see `breaking_changes`.

    `confirm`: it is the same · `keep`: serve it and leave the registered definition · `replace`: register it.

    Raises:
        PipelineChangedError: its jobs may break.
    """
    if row.definition == own:
        return "confirm"
    if row.is_confirmed and not is_start:
        return "keep"
    if may_replace or not row.is_bound:
        return "replace"
    is_older = own.digest in row.superseded
    if is_older and row.is_confirmed:
        return "keep"
    changes = breaking_changes(row.definition, own, earlier=earlier)
    if not changes:
        return "replace"
    if is_older:
        return "keep"
    raise PipelineChangedError(*key, changes)
