"""Pipelines and steps: a named, versioned graph of functions over typed parameters. Pure."""

import inspect
import re
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar, overload

import msgspec

from headrace.domain.errors import HeadraceError
from headrace.domain.json_decoding import Decode, build_decoder
from headrace.domain.pipelines.schemas import accepts_objects, type_schema

RunsIn = Literal["loop", "thread", "process"]
OnLoss = Literal["retry", "fail"]
P = ParamSpec("P")
R = TypeVar("R")
SchemaOf = Callable[[Any], dict[str, Any]]
"""A function that returns the JSON Schema of a type."""

_split: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
MAX_VERSION: Final = 2**31 - 1
# The decorator recognises this object, so that an hour that an author has chosen is not taken for it.
_DEFAULT_TIMEOUT: Final = timedelta(hours=1)


class PipelineDefinitionError(HeadraceError):
    """The definition of a pipeline or a step is not valid."""


@dataclass(frozen=True, slots=True)
class Step(Generic[P, R]):
    """A function, and how it runs.

    *timeout* limits one try. *grace* is the time a try has to stop by itself before it is killed. *on_loss*:
    what happens to the job if an attempt is lost or handed back while it runs the step.
    """

    function: Callable[P, R]
    name: str
    retries: int
    timeout: timedelta
    runs_in: RunsIn
    grace: timedelta
    on_loss: OnLoss
    has_default_timeout: bool

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the plain function, for example in a test of the step."""
        return self.function(*args, **kwargs)


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    retries: int = 3,
    timeout: timedelta = _DEFAULT_TIMEOUT,
    runs_in: RunsIn | None = None,
    grace: timedelta = timedelta(seconds=10),
    on_loss: OnLoss = "retry",
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(
    function: Callable[P, R] | None = None,
    /,
    *,
    retries: int = 3,
    timeout: timedelta = _DEFAULT_TIMEOUT,
    runs_in: RunsIn | None = None,
    grace: timedelta = timedelta(seconds=10),
    on_loss: OnLoss = "retry",
) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """Turn a function into a step. The decorator works with and without arguments.

    By default coroutine functions run in the `loop` and others in a `thread`. CPU-bound work belongs in a
    `process`. A step with `on_loss="fail"` is never entered again after an attempt that did not end it, nor
    after a try that was killed, or ran out of time or into an outage: then its job fails with the code
    `step_lost`.

    Raises:
        PipelineDefinitionError: a value is out of range, or the function does not fit *runs_in*.
    """

    def decorate(plain: Callable[P, R]) -> Step[P, R]:
        is_async = inspect.iscoroutinefunction(plain)
        where: RunsIn = runs_in or ("loop" if is_async else "thread")
        label = f"step {plain.__name__!r}"
        if where not in typing.get_args(RunsIn):
            raise PipelineDefinitionError(f"{label}: runs_in is loop, thread or process, not {where!r}")
        require_no_yield(plain, label)
        if is_async != (where == "loop"):
            kind = "an async function runs in the loop" if is_async else "a loop step is an async function"
            raise PipelineDefinitionError(f"{label}: {kind}")
        if on_loss not in typing.get_args(OnLoss):
            raise PipelineDefinitionError(f"{label}: on_loss is retry or fail, not {on_loss!r}")
        if retries < 0 or timeout <= timedelta(0) or grace < timedelta(0):
            raise PipelineDefinitionError(f"{label}: retries, timeout and grace cannot be negative")
        parameters = inspect.signature(plain).parameters.values()
        if len(parameters) not in (1, 2) or any(p.kind is p.KEYWORD_ONLY for p in parameters):
            raise PipelineDefinitionError(f"{label}: a step takes (context), with for_each (context, item)")
        return Step(
            function=plain,
            name=plain.__name__,
            retries=retries,
            timeout=timeout,
            runs_in=where,
            grace=grace,
            on_loss=on_loss,
            has_default_timeout=timeout is _DEFAULT_TIMEOUT,
        )

    return decorate if function is None else decorate(function)


def require_no_yield(function: Callable[..., Any], label: str) -> None:
    """Refuse a generator as the function of a step: a call of it would run none of its code.

    Raises:
        PipelineDefinitionError: it is one.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise PipelineDefinitionError(f"{label}: a step returns its output; a function with yield is no step")


@dataclass(frozen=True, slots=True)
class StepHandle:
    """A reference to a step in a pipeline, for `after` and `StepContext.output`."""

    pipeline: str
    name: str


@dataclass(frozen=True, slots=True)
class Node:
    """One step in the graph of a pipeline."""

    name: str
    step: Step[..., Any]
    after: tuple[str, ...]
    for_each: Callable[[Any], Iterable[Any]] | None
    weight: float
    is_result: bool
    output_type: Any
    item_type: Any
    decode_item: Decode
    """Decodes an item from JSON into its type."""
    decode_output: Decode
    """Decodes an output from JSON into its type; that of a single item if there are many."""


class Pipeline:
    """A named, versioned graph of steps.

    *params*: a msgspec Struct, or any other type that msgspec can decode from a JSON object.

    Raises:
        PipelineDefinitionError: the name or version is malformed, or the parameters are no object or have no
            JSON Schema.
    """

    def __init__(self, name: str, *, version: int = 1, params: Any, description: str = "") -> None:
        if not _NAME.fullmatch(name):
            raise PipelineDefinitionError(
                f"pipeline {name!r}: a name is lower-case snake_case, at most 64 long"
            )
        if not 1 <= version <= MAX_VERSION:
            raise PipelineDefinitionError(f"pipeline {name!r}: a version is a whole number from 1")
        self.name, self.version, self.params, self.description = name, version, params, description
        self.nodes: dict[str, Node] = {}
        self.followers: dict[str, tuple[str, ...]] = {}
        """The names of the steps that directly follow each step."""
        self.weights: dict[str, float] = {}
        self.params_schema()
        if not accepts_objects(params):
            raise PipelineDefinitionError(
                f"pipeline {name!r}: params are a JSON object, such as a msgspec Struct or a pydantic model,"
                f" not {params!r}"
            )
        self.decode_params = build_decoder(params)
        """Decodes parameters from JSON into their type."""

    def add(
        self,
        step: Step[..., Any],
        *,
        name: str | None = None,
        after: StepHandle | Sequence[StepHandle] | None = None,
        for_each: Callable[[Any], Iterable[Any]] | None = None,
        result: bool = False,
        weight: float = 1,
    ) -> StepHandle:
        """Add *step* to the graph and return its handle.

        Without *after* it follows the step added before it; `after=()` makes it a root. *for_each* is a
        function of the parameters that returns items; the step then runs once per item. *result* makes the
        step's output the job's result. *weight* is its share of the job's progress.

        Raises:
            PipelineDefinitionError: an argument is not valid, or the name is already used.
        """
        if not isinstance(step, Step):
            raise PipelineDefinitionError(
                f"pipeline {self.name!r}: {step!r} is not a step; decorate it with @step"
            )
        name = name or step.name
        label = f"pipeline {self.name!r}, step {name!r}"
        if not _NAME.fullmatch(name):
            raise PipelineDefinitionError(f"{label}: a name is lower-case snake_case, at most 64 long")
        if name in self.nodes:
            raise PipelineDefinitionError(
                f"{label}: there is one of that name already; give it another with name="
            )
        if not weight > 0:
            raise PipelineDefinitionError(f"{label}: a weight is above 0")
        if result and any(node.is_result for node in self.nodes.values()):
            raise PipelineDefinitionError(f"{label}: only one step can be the result")
        takes_item = len(inspect.signature(step.function).parameters) == 2
        if takes_item != (for_each is not None):
            raise PipelineDefinitionError(f"{label}: a step takes (context), with for_each (context, item)")
        if inspect.iscoroutinefunction(for_each) or inspect.isasyncgenfunction(for_each):
            raise PipelineDefinitionError(f"{label}: for_each is no async function")
        item_type, output_type = self._types_of(step, name, label)
        before = self._after(after, label)
        self.nodes[name] = Node(
            name=name,
            step=step,
            after=before,
            for_each=for_each,
            weight=float(weight),
            is_result=result,
            output_type=output_type,
            item_type=item_type,
            decode_item=build_decoder(item_type),
            decode_output=build_decoder(output_type),
        )
        self.followers[name] = ()
        for earlier in before:
            self.followers[earlier] += (name,)
        self.weights[name] = float(weight)
        return StepHandle(self.name, name)

    def params_schema(self, schema_of: SchemaOf = type_schema) -> dict[str, Any]:
        return self._schema_of(self.params, "params", schema_of)

    def result_schema(self, schema_of: SchemaOf = type_schema) -> dict[str, Any] | None:
        """Return the JSON Schema of the result; None when no step is the result."""
        node = next((node for node in self.nodes.values() if node.is_result), None)
        if node is None:
            return None
        schema = self._schema_of(node.output_type, f"step {node.name!r}", schema_of)
        return {"type": "array", "items": schema} if node.for_each else schema

    def step_schemas(self, schema_of: SchemaOf = type_schema) -> dict[str, dict[str, Any]]:
        """Return the JSON Schema of each step's output, and with `for_each` of its item."""
        schemas: dict[str, dict[str, Any]] = {}
        for node in self.nodes.values():
            shapes = {"output": node.output_type, **({"item": node.item_type} if node.for_each else {})}
            label = f"step {node.name!r}"
            schemas[node.name] = {
                key: self._schema_of(shape, label, schema_of) for key, shape in shapes.items()
            }
        return schemas

    def decode_output(self, step: StepHandle, raw: str) -> Any:
        """Decode the output of *step* from JSON into its annotated type; for `for_each` into a list of it."""
        node = self.nodes[step.name]
        if node.for_each is None:
            return node.decode_output(raw)
        # One after the other, so that in a thread other threads run between.
        return [node.decode_output(bytes(part)) for part in _split(raw)]

    def graph(self) -> list[dict[str, Any]]:
        """Return the steps as plain JSON values, in the order in which they were added."""
        return [
            {
                "name": node.name,
                "after": list(node.after),
                "for_each": node.for_each is not None,
                "runs_in": node.step.runs_in,
                "retries": node.step.retries,
                "timeout_seconds": node.step.timeout.total_seconds(),
                "weight": node.weight,
                "result": node.is_result,
                # Only if set, so that the graphs of registered versions stay equal.
                **({"on_loss": node.step.on_loss} if node.step.on_loss != "retry" else {}),
            }
            for node in self.nodes.values()
        ]

    def _after(self, after: StepHandle | Sequence[StepHandle] | None, label: str) -> tuple[str, ...]:
        if after is None:
            return (next(reversed(self.nodes)),) if self.nodes else ()
        handles = (after,) if isinstance(after, StepHandle) else tuple(after)
        for handle in handles:
            if (
                not isinstance(handle, StepHandle)
                or handle.pipeline != self.name
                or handle.name not in self.nodes
            ):
                raise PipelineDefinitionError(
                    f"{label}: after takes handles that this pipeline's add() returned"
                )
        return tuple(dict.fromkeys(handle.name for handle in handles))

    def _schema_of(self, shape: Any, label: str, schema_of: SchemaOf = type_schema) -> dict[str, Any]:
        try:
            return schema_of(shape)
        except (TypeError, NameError) as error:
            reason = " ".join(str(error).split())
            raise PipelineDefinitionError(f"pipeline {self.name!r}, {label}: {reason}") from error

    def _types_of(self, step: Step[..., Any], name: str, label: str) -> tuple[Any, Any]:
        try:
            hints = typing.get_type_hints(step.function, include_extras=True)
        except NameError as error:
            raise PipelineDefinitionError(f"{label}: {error}; import its types plainly") from error
        parameters = list(inspect.signature(step.function).parameters)
        item_type = hints.get(parameters[1], Any) if len(parameters) == 2 else Any
        output_type = hints.get("return", Any)
        for shape in (item_type, output_type):
            self._schema_of(shape, f"step {name!r}")
        return item_type, output_type
