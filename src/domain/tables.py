"""Every table of the service, so that whoever needs them all imports one module."""

from domain.accounts.models import User
from domain.events.models import JOB_EVENTS
from domain.files.models import File
from domain.jobs.models import IdempotencyKey, Job, StepRun
from domain.pipelines.models import PipelineVersion
from domain.tags.models import JOB_TAGS, Tag
from domain.workers.models import WorkerProcess

__all__ = [
    "JOB_EVENTS",
    "JOB_TAGS",
    "File",
    "IdempotencyKey",
    "Job",
    "PipelineVersion",
    "StepRun",
    "Tag",
    "User",
    "WorkerProcess",
]
