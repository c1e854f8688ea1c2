"""The names that a pipeline's author imports. They are defined in `headrace.domain.pipelines`."""

from headrace.domain.pipelines.context import JobCancelledError, PermanentError, RetryableError, StepContext
from headrace.domain.pipelines.definition import Pipeline, PipelineDefinitionError, Step, StepHandle, step
from headrace.domain.pipelines.tasks import Task, task

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
