"""Every table of the service, so that whoever needs them all imports one module."""

from domain.accounts.models import ApiKey, AuditEntry, Identity, LoginAttempt, LoginSession, User
from domain.events.models import JOB_EVENTS
from domain.files.models import BlobRemoval, File
from domain.jobs.models import IdempotencyKey, Job, StepRun
from domain.pipelines.models import PipelineVersion
from domain.presets.models import Preset
from domain.tags.models import JOB_TAGS, PRESET_TAGS, Tag
from domain.workers.models import WorkerProcess

__all__ = [
    "JOB_EVENTS",
    "JOB_TAGS",
    "PRESET_TAGS",
    "ApiKey",
    "AuditEntry",
    "BlobRemoval",
    "File",
    "IdempotencyKey",
    "Identity",
    "Job",
    "LoginAttempt",
    "LoginSession",
    "PipelineVersion",
    "Preset",
    "StepRun",
    "Tag",
    "User",
    "WorkerProcess",
]
