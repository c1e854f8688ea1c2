"""All rules of retention that work on the database, in the order in which they run."""

from typing import Final

from headrace.domain.accounts.login_attempt_repository import LOGIN_EXPIRY
from headrace.domain.accounts.session_repository import SESSION_EXPIRY
from headrace.domain.chores.repository import FAILURE_EXPIRY
from headrace.domain.database import Database
from headrace.domain.jobs.submission.submit_repository import KEY_EXPIRY
from headrace.domain.jobs.submission.transactional_repository import (
    SUBMISSION_EXPIRY,
    TRANSACTIONAL_KEY_EXPIRY,
)
from headrace.domain.retention.expiry import Expiry, ExpiryRule
from headrace.domain.retention.file_rule import FileRule
from headrace.domain.retention.job_rule import JobRule
from headrace.domain.retention.partition_rule import PartitionRule
from headrace.domain.retention.rule import Rule
from headrace.domain.retention.terms import RetentionTerms
from headrace.domain.workers.repository import WORKER_EXPIRY

FIXED_EXPIRIES: Final = (
    KEY_EXPIRY,
    TRANSACTIONAL_KEY_EXPIRY,
    SUBMISSION_EXPIRY,
    LOGIN_EXPIRY,
    SESSION_EXPIRY,
    WORKER_EXPIRY,
    FAILURE_EXPIRY,
)
"""The expiries that no setting changes."""


def audit_expiry(terms: RetentionTerms) -> Expiry:
    """Return when entries of the audit log expire."""
    return Expiry("audit_entries", "at", terms.audit)


def build_rules(database: Database, terms: RetentionTerms) -> list[Rule]:
    """Return the rules. Partitions come after the jobs that may empty them."""
    return [
        *(ExpiryRule(database, expiry) for expiry in (*FIXED_EXPIRIES, audit_expiry(terms))),
        JobRule(database, terms),
        FileRule(database, terms.files),
        PartitionRule(database),
    ]
