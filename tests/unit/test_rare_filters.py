"""The lookup of ended jobs is planned with its state and its limit, also when PostgreSQL keeps the plan."""

from sqlalchemy.dialects import postgresql

from headrace.domain.jobs import rare_filters
from headrace.domain.jobs.models import Job
from headrace.domain.jobs.states import JobState


def test_the_state_and_the_limit_are_no_parameters() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]

    compiled = rare_filters._ended(JobState.FAILED, None, Job.finished_at).compile(dialect=dialect)

    assert compiled.params == {}
    assert "jobs.state = 'failed'" in str(compiled)
    assert str(compiled).count(f"LIMIT {rare_filters.MAX_RARE + 1}") == 2
