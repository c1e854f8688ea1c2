"""A job together with what belongs to it, in one answer."""

from collections.abc import Set

from msgspec import UNSET, UnsetType

from headrace.api.files.schemas import FileView
from headrace.api.jobs.schemas import JobView, StepView
from headrace.domain.jobs.filters import Include
from headrace.domain.jobs.models import Job
from headrace.domain.jobs.step_order import in_graph_order


class JobDetail(JobView, kw_only=True):
    """A job with the parts of it that were asked for; the others are left out."""

    steps: list[StepView] | UnsetType = UNSET
    files: list[FileView] | UnsetType = UNSET

    @classmethod
    def with_parts(cls, job: Job, waiting_for: str | None, parts: Set[Include]) -> "JobDetail":
        view = cls.of(job, waiting_for)
        if Include.STEPS in parts:
            reported = job.progress_steps or {}
            runs = in_graph_order(job, job.definition.graph, job.step_runs)
            view.steps = [StepView.of(run, reported) for run in runs]
        if Include.FILES in parts:
            view.files = [FileView.of(file) for file in job.files]
        return view
