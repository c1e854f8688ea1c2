"""Runs pipelines in memory, for an author's tests: without servers, and without the pauses between tries."""

from headrace.domain.events.types import JobError
from headrace.testing.job_run import JobRun, LogEntry, ProgressReport, SavedFile, StepOutcome
from headrace.testing.memory_worker import ParamsError, run

__all__ = [
    "JobError",
    "JobRun",
    "LogEntry",
    "ParamsError",
    "ProgressReport",
    "SavedFile",
    "StepOutcome",
    "run",
]
