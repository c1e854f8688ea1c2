"""A job together with its steps and files, in one answer."""

from collections.abc import Sequence, Set
from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from headrace.api.files.schemas import FileView
from headrace.api.jobs.schemas import JobView, StepView
from headrace.domain.jobs.filters import Include
from headrace.domain.jobs.models import Job
from headrace.domain.jobs.step_order import in_graph_order


class JobPage(Struct, omit_defaults=True):
    """One page of jobs; *total* counts all that match.

    *next* is the cursor of the page behind this one, to be sent as `after`; the last page has none.
    *total_is_estimate*: *total* is PostgreSQL's estimate.
    *searched_back_to*: only the jobs created since then were looked at.
    """

    items: Sequence["JobDetail"]
    total: int
    limit: int
    offset: int
    total_is_estimate: bool = False
    next: str | None = None
    searched_back_to: datetime | UnsetType = UNSET


class JobDetail(JobView, kw_only=True):
    """A job with the parts that `include` names. Other parts are left out."""

    steps: list[StepView] | UnsetType = UNSET
    files: list[FileView] | UnsetType = UNSET

    @classmethod
    def of_loaded(cls, job: Job, waiting_for: str | None, include: Set[Include]) -> "JobDetail":
        """Show a job whose tags and the parts in *include* are loaded."""
        view = cls.of(job, waiting_for)
        if Include.STEPS in include:
            reported = job.progress_steps or {}
            runs = in_graph_order(job, job.definition.graph, job.step_runs)
            view.steps = [StepView.of(run, reported) for run in runs]
        if Include.FILES in include:
            view.files = [FileView.of(file) for file in job.files]
        return view
