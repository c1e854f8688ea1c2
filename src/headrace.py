"""What the author of a pipeline imports; everything here is defined in `domain.pipelines`."""

from domain.pipelines.context import JobCancelledError, PermanentError, RetryableError, StepContext
from domain.pipelines.definition import Pipeline, PipelineDefinitionError, Step, StepHandle, step

__all__ = [
    "JobCancelledError",
    "PermanentError",
    "Pipeline",
    "PipelineDefinitionError",
    "RetryableError",
    "Step",
    "StepContext",
    "StepHandle",
    "step",
]
