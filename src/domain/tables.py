"""All tables of the service in one module, for the migrations and for tests."""

from headrace.domain.accounts.models import ApiKey, AuditEntry, Identity, LoginAttempt, LoginSession, User
from headrace.domain.chores.models import ChoreFailure, ChoreOutcome
from headrace.domain.events.models import JOB_CHANGES
from headrace.domain.files.models import BlobRemoval, File
from headrace.domain.jobs.models import IdempotencyKey, Job, StepRun
from headrace.domain.jobs.submission.models import TransactionalKey, TransactionalSubmission
from headrace.domain.pipelines.models import PipelineVersion
from headrace.domain.presets.models import Preset
from headrace.domain.quotas.models import JobQuota
from headrace.domain.retention.models import Installation
from headrace.domain.tags.models import JOB_TAGS, PRESET_TAGS, Tag
from headrace.domain.workers.models import WorkerProcess

__all__ = [
    "JOB_CHANGES",
    "JOB_TAGS",
    "PRESET_TAGS",
    "ApiKey",
    "AuditEntry",
    "BlobRemoval",
    "ChoreFailure",
    "ChoreOutcome",
    "File",
    "IdempotencyKey",
    "Identity",
    "Installation",
    "Job",
    "JobQuota",
    "LoginAttempt",
    "LoginSession",
    "PipelineVersion",
    "Preset",
    "StepRun",
    "Tag",
    "TransactionalKey",
    "TransactionalSubmission",
    "User",
    "WorkerProcess",
]
