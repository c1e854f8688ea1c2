"""Tasks: pipelines of one step, each made from a typed function with plain arguments. Pure."""

import copy
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from inspect import Parameter
from typing import Any, Final, Generic, ParamSpec, TypedDict, TypeVar, Unpack, overload
from uuid import UUID

import msgspec

from headrace.domain.pipelines.context import StepContext
from headrace.domain.pipelines.definition import (
    OnLoss,
    Pipeline,
    PipelineDefinitionError,
    RunsIn,
    require_no_yield,
    step,
)
from headrace.domain.pydantic_types import create_model
from headrace.domain.type_descriptions import fits_in_struct

P = ParamSpec("P")
R = TypeVar("R")

_IMMUTABLE: Final = (types.NoneType, str, bytes, int, float, Decimal, UUID, date, time, timedelta, Enum)
_BY_KEYWORD: Final = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


class StepOptions(TypedDict, total=False):
    """The arguments of `@step`."""

    retries: int
    timeout: timedelta
    runs_in: RunsIn
    grace: timedelta
    on_loss: OnLoss


class Task(Pipeline, Generic[P, R]):
    """A pipeline of one step that calls a function. The arguments of the function are its parameters."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        version: int = 1,
        description: str | None = None,
        **options: Unpack[StepOptions],
    ) -> None:
        if not isinstance(function, types.FunctionType):
            raise PipelineDefinitionError(f"@task takes a function, not {function!r}")
        self.function: Callable[P, R] = function
        self.__wrapped__ = function
        self.__doc__ = function.__doc__
        label = f"task {name or function.__name__!r}"
        require_no_yield(function, label)
        hints = _hints_of(function, label)
        parameters = list(inspect.signature(function).parameters.values())
        takes_context = bool(parameters) and _is_context(parameters[0], hints)
        arguments = parameters[1:] if takes_context else parameters
        if description is None:
            description = _first_paragraph(function)
        super().__init__(
            name or function.__name__,
            version=version,
            params=_params_type(function, arguments, hints, label),
            description=description,
        )
        call = _step_function(function, [argument.name for argument in arguments], takes_context)
        call.__name__ = self.name
        call.__annotations__ = {"return": hints.get("return", Any)}
        self.add(step(**options)(call), result=True)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, for example in a test of it."""
        return self.function(*args, **kwargs)


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    version: int = 1,
    description: str | None = None,
    **options: Unpack[StepOptions],
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    version: int = 1,
    description: str | None = None,
    **options: Unpack[StepOptions],
) -> Task[P, R] | Callable[[Callable[P, R]], Task[P, R]]:
    """Make a pipeline of one step from a typed function. The decorator works with and without arguments.

    The pipeline has the name of the function, its parameters are the function's arguments, its result is what
    the function returns, and its description the first paragraph of the docstring. If the first argument is
    annotated as a `StepContext`, or is called `context` and not annotated, it is the context of the step.
    *options* are those of `step`.

    Raises:
        PipelineDefinitionError: an argument has no annotation, or the definition is not valid otherwise.
    """
    define = partial(Task[P, R], name=name, version=version, description=description, **options)
    return define if function is None else define(function)


def _hints_of(function: Callable[..., Any], label: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise PipelineDefinitionError(f"{label}: {error}; import its types plainly") from error


def _is_context(parameter: Parameter, hints: dict[str, Any]) -> bool:
    if parameter.name not in hints:
        return parameter.name == "context"
    hint = hints[parameter.name]
    return (typing.get_origin(hint) or hint) is StepContext


def _first_paragraph(function: Callable[..., Any]) -> str:
    return " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())


def _params_type(
    function: Callable[..., Any], arguments: Sequence[Parameter], hints: dict[str, Any], label: str
) -> Any:
    """Return a struct with a field for each argument, or a pydantic model where a struct cannot have them."""
    for argument in arguments:
        if argument.kind not in _BY_KEYWORD:
            raise PipelineDefinitionError(
                f"{label}: {str(argument)!r} cannot be passed by name, as parameters are"
            )
        if argument.name not in hints:
            raise PipelineDefinitionError(f"{label}: argument {argument.name!r} has no annotation")
    name = f"{function.__name__.title().replace('_', '')}Params"
    types = {argument.name: hints[argument.name] for argument in arguments}
    defaults = {argument.name: argument.default for argument in arguments}
    try:
        if not all(map(fits_in_struct, types.values())):
            # To pydantic an ellipsis means that there is no default.
            fields = {
                key: (kind, ... if defaults[key] is Parameter.empty else defaults[key])
                for key, kind in types.items()
            }
            return create_model(name, fields, function.__module__)
        return msgspec.defstruct(
            name,
            [(key, kind, *_default(defaults[key])) for key, kind in types.items()],
            module=function.__module__,
            kw_only=True,
            forbid_unknown_fields=True,
        )
    except TypeError as error:
        raise PipelineDefinitionError(f"{label}: {' '.join(str(error).split())}") from error


def _default(default: Any) -> tuple[Any, ...]:
    """Return what a field of a struct gets as its default: nothing, or one object that jobs do not share."""
    if default is Parameter.empty:
        return ()
    is_empty = type(default) in (list, dict, set) and not default
    if is_empty or isinstance(default, _IMMUTABLE):
        return (default,)
    return (msgspec.field(default_factory=partial(copy.deepcopy, default)),)


def _step_function(function: Callable[..., Any], names: list[str], takes_context: bool) -> Callable[..., Any]:
    """Return *function* as the function of a step: it takes the context and passes the params by name."""

    def call(context: Any) -> Any:
        arguments = {name: getattr(context.params, name) for name in names}
        return function(context, **arguments) if takes_context else function(**arguments)

    async def call_and_await(context: Any) -> Any:
        return await call(context)

    return call_and_await if inspect.iscoroutinefunction(function) else call
