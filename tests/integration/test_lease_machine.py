"""Random sequences of worker, user and clock actions on jobs: the SQL agrees with the model."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import support.lease_model as model
from headrace.domain.accounts.reach import Reach
from headrace.domain.jobs.attempts.changes import Change
from headrace.domain.jobs.claim_rules import MAX_LOSSES
from headrace.domain.jobs.states import IllegalTransitionError, JobState
from support.lease_driver import ENDS, OWNER, LeaseDriver, change_of_kind, job_spec
from support.lease_expected import ExpectedJob, ExpectedState, is_legal_history
from support.lease_model import ModelJob, Outcome

WORKERS: Final = st.sampled_from(["a", "b"])
NTH: Final = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 5])
STEPS: Final = st.sampled_from(["one", "two"])
KINDS: Final = st.sampled_from(
    ["log", *("start", "checkpoint", "fail a try") * 2, *ENDS, "requeue", "requeue"]
)

_ROWS: Final = """
SELECT id, state, attempt, losses, fence, write_no, lease_owner, cancel_requested_at IS NOT NULL
       AS is_cancel_requested, event_seq,
       (SELECT array_agg(seq ORDER BY seq) FROM job_events WHERE job_id = id) AS seqs,
       (SELECT array_agg(type ORDER BY seq) FROM job_events WHERE job_id = id) AS event_types,
       (SELECT json_object_agg(key, s.state)::text FROM step_runs s WHERE job_id = id) AS steps
FROM jobs
"""


def _losses_kept(job: ModelJob) -> int:
    """Return the losses that still count if the job is lost again without blame."""
    return job.losses if job.lost_in_a_row else 0


class LeaseMachine(RuleBasedStateMachine):
    """Two workers, a user, a sweep and the clock. Zombies are attempts that continue after they were lost."""

    driver: ClassVar[LeaseDriver]

    def __init__(self) -> None:
        super().__init__()
        self.expected_state = ExpectedState()
        self.sent: dict[tuple[UUID, int], Change] = {}
        self.driver.fetch("DELETE FROM jobs")

    @precondition(lambda self: len(self.expected_state.jobs(lambda job: not job.state.is_final)) < 3)
    @rule(
        priority=st.sampled_from([0, 5, 9]),
        is_due=st.sampled_from([True, True, False]),
    )
    def submit(self, priority: int, is_due: bool) -> None:
        run_at = None if is_due else datetime.now(UTC) + timedelta(hours=1)
        job_id = self.driver.submit(job_spec(priority=priority, run_at=run_at))
        self.expected_state.entries[job_id] = ExpectedJob(
            priority, self.expected_state.next_turn(), ModelJob(is_due=is_due)
        )

    @precondition(lambda self: self.expected_state.jobs(model.can_be_claimed))
    @rule(nth=NTH, worker=WORKERS, losses=st.integers(1, MAX_LOSSES))
    def end_many_workers(self, nth: int, worker: str, losses: int) -> None:
        """Claim one job again and again, which ends its worker each time."""
        for _ in range(losses):
            due = self.expected_state.jobs(model.can_be_claimed)
            if not due:
                return
            first = min(due, key=lambda job_id: self.expected_state.entries[job_id].rank)
            alone = model.is_suspect(due[first])
            self.claim(worker=worker, limit=1, alone=alone)
            self.die(nth=nth, worker=worker, is_blamed=True)

    @rule(nth=NTH, worker=WORKERS, is_blamed=st.booleans())
    def die(self, nth: int, worker: str, is_blamed: bool) -> None:
        """End a worker. Its successor requeues what it held, and blames one of the jobs, or none."""
        held = self.expected_state.jobs(lambda job: job.holder == worker)
        blamed = sorted(held)[nth % len(held)] if held and is_blamed else None
        turn = self.expected_state.next_turn()
        expected: dict[UUID, list[str]] = {}
        for job_id, job in held.items():
            outcome = model.die(job, worker, is_blamed=job_id == blamed)
            self.expected_state.entries[job_id].apply(outcome, turn)
            expected[job_id] = list(outcome.events)

        news = self.driver.die(worker, "b", (blamed, held[blamed].fence) if blamed is not None else None)

        assert {job_news.job_id: [event.type for event in job_news.events] for job_news in news} == expected
        for job_news in news:
            body = msgspec.json.decode(job_news.events[0].body)
            loss_counts = model.die(
                held[job_news.job_id], worker, is_blamed=job_news.job_id == blamed
            ).job.losses
            assert body["blamed"] == (loss_counts > _losses_kept(held[job_news.job_id]))

    @rule(worker=WORKERS, limit=st.integers(1, 3), alone=st.booleans())
    def claim(self, worker: str, limit: int, alone: bool) -> None:
        due = self.expected_state.jobs(
            lambda job: model.can_be_claimed(job) and model.is_suspect(job) == alone
        )
        ranks = sorted(self.expected_state.entries[job_id].rank for job_id in due)[:limit]

        claims = self.driver.claim(worker, limit, suspects=alone)

        assert [self.expected_state.entries[claim.job_id].rank for claim in claims] == ranks
        for claim in claims:
            entry = self.expected_state.entries[claim.job_id]
            entry.apply(model.claim(entry.job, worker), self.expected_state.turn)
            assert (claim.attempt, claim.fence, claim.head, claim.losses, claim.cancel_requested) == (
                entry.job.attempt,
                entry.job.fence,
                len(entry.history),
                entry.job.losses,
                entry.job.is_cancel_requested,
            )
            assert {key: record.state for key, record in claim.steps.items()} == entry.steps
        self.expected_state.claims += claims

    @rule(worker=WORKERS)
    def renew(self, worker: str) -> None:
        held = self.driver.renew(worker)

        expected = self.expected_state.jobs(lambda job: job.holder == worker)
        assert held == {(job_id, job.fence) for job_id, job in expected.items()}
        for entry in self.expected_state.entries.values():
            entry.job = model.renew(entry.job, worker)

    @rule(changes=st.lists(st.tuples(NTH, KINDS, STEPS), min_size=1, max_size=3))
    def write(self, changes: list[tuple[int, str, str]]) -> None:
        """Write one batch, which contains each job once."""
        self._have_one_running()
        batch: dict[UUID, Change] = {}
        for nth, kind, step in changes:
            claim = self.expected_state.pick_attempt(nth)
            before = self.sent.get((claim.job_id, claim.fence))
            write_no = 1 if before is None else before.write_no + 1
            unfinished = self.expected_state.entries[claim.job_id].unfinished
            batch[claim.job_id] = change_of_kind(claim, write_no, kind, step, unfinished)
        self.sent.update({(change.job_id, change.fence): change for change in batch.values()})
        self._send(list(batch.values()))

    @precondition(lambda self: self.sent)
    @rule(nth=NTH)
    def send_again(self, nth: int) -> None:
        """Repeat the last change of an attempt, as if its result had been lost."""
        claim = self.expected_state.pick_attempt(nth)
        if (change := self.sent.get((claim.job_id, claim.fence))) is not None:
            self._send([change])

    @rule(nth=st.integers(0, 4), worker=WORKERS)
    def hand_back(self, nth: int, worker: str) -> None:
        self._have_one_running()
        claim = self.expected_state.pick_attempt(nth)

        self.driver.hand_back(worker, claim.job_id, claim.fence)

        self.expected_state.apply(
            claim.job_id, model.hand_back(self.expected_state.job(claim.job_id), worker, claim.fence)
        )

    @precondition(lambda self: self.expected_state.entries)
    @rule(nth=NTH, is_patient=st.sampled_from([True, True, True, False]))
    def cancel(self, nth: int, is_patient: bool) -> None:
        job_id = self.expected_state.pick(nth)
        if is_patient and self.expected_state.job(job_id).state is JobState.QUEUED:
            return  # otherwise most jobs would end before they run
        self._request(job_id, "cancel", model.cancel(self.expected_state.job(job_id)))

    @precondition(lambda self: self.expected_state.entries)
    @rule(nth=NTH)
    def retry(self, nth: int) -> None:
        job_id = self.expected_state.pick(nth)
        self._request(job_id, "retry", model.retry(self.expected_state.job(job_id)))

    @rule(worker=WORKERS)
    def leases_run_out(self, worker: str) -> None:
        self._have_one_running()
        for job_id in self.driver.expire(worker):
            self.expected_state.entries[job_id].job = self.expected_state.job(job_id)._replace(
                is_expired=True
            )

    @precondition(
        lambda self: self.expected_state.jobs(lambda job: job.attempt > 0 and not job.state.is_final)
    )
    @rule(nth=NTH)
    def time_is_over(self, nth: int) -> None:
        for late in self.driver.make_late(self.expected_state.pick(nth)):
            self.expected_state.entries[late].job = self.expected_state.job(late)._replace(is_late=True)

    @precondition(lambda self: self.expected_state.jobs(lambda job: not job.is_due))
    @rule()
    def all_comes_due(self) -> None:
        turn = self.expected_state.next_turn()
        for job_id in self.driver.make_due():
            entry = self.expected_state.entries[job_id]
            entry.job, entry.turn = entry.job._replace(is_due=True), turn

    @precondition(lambda self: self.expected_state.jobs(lambda job: job.is_expired or job.is_late))
    @rule(worker=WORKERS)
    def sweep(self, worker: str) -> None:
        turn = self.expected_state.next_turn()
        expected: dict[UUID, list[str]] = {}
        for judge in (model.take_back, model.time_out):
            for job_id, entry in self.expected_state.entries.items():
                if (outcome := judge(entry.job)).events:
                    entry.apply(outcome, turn)
                    expected.setdefault(job_id, []).extend(outcome.events)

        event_types: dict[UUID, list[str]] = {}
        for news in self.driver.take_back(worker):
            event_types.setdefault(news.job_id, []).extend(event.type for event in news.events)

        assert event_types == expected

    @invariant()
    def the_database_agrees(self) -> None:
        rows = self.driver.fetch(_ROWS)

        assert {row["id"] for row in rows} == self.expected_state.entries.keys()
        for row in rows:
            entry = self.expected_state.entries[row["id"]]
            job = entry.job
            assert row["event_types"] == entry.history
            assert row["seqs"] == list(range(1, row["event_seq"] + 1))
            assert is_legal_history(row["event_types"])
            assert (row["state"], row["attempt"], row["losses"], row["fence"], row["write_no"]) == (
                job.state,
                job.attempt,
                job.losses,
                job.fence,
                job.write_no,
            )
            assert (row["lease_owner"], row["is_cancel_requested"]) == (job.holder, job.is_cancel_requested)
            assert msgspec.json.decode(row["steps"] or "{}") == entry.steps

    def _send(self, batch: list[Change]) -> None:
        results = self.driver.write(batch)

        turn = self.expected_state.next_turn()
        for change in batch:
            entry = self.expected_state.entries[change.job_id]
            outcome = model.write(
                entry.job,
                change.fence,
                change.write_no,
                tuple(event.type for event in change.events),
                change.move.target if change.move is not None else None,
                delayed=change.move is not None and change.move.delay_seconds > 0,
            )
            entry.apply(outcome, turn, change.steps.values() if outcome.verdict == "now" else ())
            written, news = results[change.job_id]
            assert written.verdict == ("lost" if outcome.verdict == "lost" else "applied")
            event_types = () if news is None else tuple(event.type for event in news.events)
            assert event_types == outcome.events
            assert (news is None) == (outcome.verdict != "now")

    def _request(self, job_id: UUID, action: str, expected: Outcome | None) -> None:
        if expected is None:
            with pytest.raises(IllegalTransitionError):
                self.driver.ask(lambda jobs: getattr(jobs, action)(job_id, Reach(OWNER)))
        else:
            self.driver.ask(lambda jobs: getattr(jobs, action)(job_id, Reach(OWNER)))
            self.expected_state.apply(job_id, expected)

    def _have_one_running(self) -> None:
        """Start one job, so that every subset of rules has a job to work on."""
        if self.expected_state.jobs(lambda job: job.state is JobState.RUNNING):
            return
        if not self.expected_state.jobs(lambda job: model.can_be_claimed(job) and not model.is_suspect(job)):
            self.submit(priority=5, is_due=True)
        self.claim(worker="a", limit=1, alone=False)


@pytest.fixture
def driver(database_url: str) -> Iterator[LeaseDriver]:
    opened = LeaseDriver(database_url)
    yield opened
    opened.close()


@pytest.mark.slow
def test_the_sql_agrees_with_the_model(driver: LeaseDriver) -> None:
    run_state_machine_as_test(
        type("Machine", (LeaseMachine,), {"driver": driver}),
        settings=settings(
            max_examples=200,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            database=None,
            print_blob=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
