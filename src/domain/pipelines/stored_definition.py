"""A pipeline's definition as it is registered, and what in it must not change while jobs use it. Pure."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.domain.pipelines.definition import Pipeline, SchemaOf
from headrace.domain.pipelines.schema_changes import differences, narrowings
from headrace.domain.pipelines.schemas import schema_without_shapes, type_schema, without_meta
from headrace.domain.pipelines.stored_json import as_stored
from headrace.domain.type_descriptions import json_schema

_FIXED = ("after", "for_each", "result")
# Marks definitions whose schemas have more details than those of earlier releases, which describe a
# `datetime` as they describe a `str`. With `meta`, they include the `Meta` of the annotations of a step.
_DETAILED: Final = "$detailed"
_ALL_DETAILS: Final[dict[str, Any]] = {_DETAILED: {"meta": {}}}


class StoredDefinition(Struct, frozen=True, kw_only=True):
    """The definition of one version of a pipeline, as JSON values.

    *types* has the schemas of each step's output and item, and the key `_DETAILED`. It is None if an older
    release has registered the version: then these types are not compared. *keep* is None if the pipeline
    leaves the terms of its jobs to the settings.
    """

    description: str
    graph: list[dict[str, Any]]
    params_schema: dict[str, Any]
    result_schema: dict[str, Any] | None
    types: dict[str, dict[str, Any]] | None
    keep: dict[str, float | str] | None = None

    @classmethod
    def of(
        cls,
        pipeline: Pipeline,
        *,
        params_schema: SchemaOf = type_schema,
        output_schema: SchemaOf = type_schema,
        mark: dict[str, Any] = _ALL_DETAILS,
    ) -> "StoredDefinition":
        """*mark*: says which details the schemas have, as `_DETAILED`.

        Raises:
            ValueError, MsgspecError: PostgreSQL cannot store it, or it cannot be read again.
        """
        # As it will be stored, so that it equals one that was read from the database.
        values = {
            "description": pipeline.description,
            "graph": pipeline.graph(),
            "params_schema": pipeline.params_schema(params_schema),
            "result_schema": pipeline.result_schema(output_schema),
            "types": {**pipeline.step_schemas(output_schema), **mark},
            "keep": pipeline.keep or None,
        }
        return msgspec.convert(as_stored(msgspec.json.decode(msgspec.json.encode(values))), cls)

    @property
    def digest(self) -> str:
        """A name of this definition. *types* does not count, because older releases do not store it."""
        values = [self.description, self.graph, self.params_schema, self.result_schema]
        if self.keep:  # so that digests of earlier releases stay equal
            values.append(self.keep)
        return hashlib.sha256(msgspec.json.encode(values, order="deterministic")).hexdigest()

    @property
    def details(self) -> Any:
        """Which details its schemas have; None: those of the first releases."""
        return None if self.types is None else self.types.get(_DETAILED)


def earlier_definitions(pipeline: Pipeline) -> Iterator[StoredDefinition]:
    """Yield the definition as earlier releases have registered it, with less details in its schemas."""
    for params_schema in (json_schema, schema_without_shapes):
        yield StoredDefinition.of(
            pipeline,
            params_schema=params_schema,
            output_schema=lambda shape: json_schema(without_meta(shape)),
            mark={},
        )
    yield StoredDefinition.of(
        pipeline, output_schema=lambda shape: type_schema(without_meta(shape)), mark={_DETAILED: {}}
    )


def breaking_changes(
    old: StoredDefinition, new: StoredDefinition, *, earlier: Iterable[StoredDefinition] = ()
) -> list[str]:
    """Return the changes that need a new version, since jobs of *old* may be running, each with its path.

    *earlier* are the `earlier_definitions` of *new*. If an earlier release has registered *old*, it is
    compared with them, because its schemas lack details that a worker has always required.

    These are changes of the graph (steps, `after`, `for_each`, `result`), of the types of outputs and items,
    and parameters that are no longer accepted or are decoded differently.
    """
    definitions = [new]
    if old.details != new.details:
        definitions += [definition for definition in earlier if definition.details == old.details]
    return min((_changes(old, definition) for definition in definitions), key=len)


def _changes(old: StoredDefinition, new: StoredDefinition) -> list[str]:
    return [
        *narrowings(old.params_schema, new.params_schema, "$.params"),
        *_graph_changes(old, new),
        *_type_changes(old, new),
    ]


def _graph_changes(old: StoredDefinition, new: StoredDefinition) -> Iterator[str]:
    steps = {step["name"]: step for step in old.graph}
    new_steps = {step["name"]: step for step in new.graph}
    for name in {**steps, **new_steps}:
        path = f"$.steps.{name}"
        if name not in new_steps:
            yield f"{path}: was removed or renamed"
        elif name not in steps:
            yield f"{path}: is a new step"
        else:
            for key in _FIXED:
                value, new_value = _normalized(steps[name].get(key)), _normalized(new_steps[name].get(key))
                if value != new_value:
                    yield f"{path}.{key}: was {_json(value)}, is {_json(new_value)}"


def _type_changes(old: StoredDefinition, new: StoredDefinition) -> Iterator[str]:
    if old.types is None or new.types is None:
        if old.result_schema is not None and new.result_schema is not None:
            yield from differences(old.result_schema, new.result_schema, "$.result")
        return
    for name, schemas in old.types.items():
        new_schemas = new.types.get(name, {})
        for key in sorted(schemas.keys() & new_schemas.keys()):
            yield from differences(schemas[key], new_schemas[key], f"$.steps.{name}.{key}")


def _normalized(value: Any) -> Any:
    """The order of `after` means nothing."""
    return sorted(value) if isinstance(value, list) else value


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
