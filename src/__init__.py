"""The names that a pipeline's author imports. They are defined in `headrace.domain.pipelines`.

They are imported when they are first used, because everything else in this package imports this module.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from headrace.domain.pipelines.context import (
        JobCancelledError,
        PermanentError,
        RetryableError,
        StepContext,
    )
    from headrace.domain.pipelines.definition import Pipeline, PipelineDefinitionError, Step, StepHandle, step
    from headrace.domain.pipelines.tasks import Task, task
else:
    # Hidden from type checkers, which would accept any name of a module that has this function.
    _MODULES: Final = {
        "context": ("JobCancelledError", "PermanentError", "RetryableError", "StepContext"),
        "definition": ("Pipeline", "PipelineDefinitionError", "Step", "StepHandle", "step"),
        "tasks": ("Task", "task"),
    }

    def __getattr__(name: str) -> Any:
        for module, names in _MODULES.items():
            if name in names:
                value = getattr(importlib.import_module(f"headrace.domain.pipelines.{module}"), name)
                return globals().setdefault(name, value)
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "JobCancelledError",
    "PermanentError",
    "Pipeline",
    "PipelineDefinitionError",
    "RetryableError",
    "Step",
    "StepContext",
    "StepHandle",
    "Task",
    "step",
    "task",
]
