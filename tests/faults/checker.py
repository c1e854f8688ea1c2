"""Rules that every job must satisfy after a test has killed, cut or frozen parts of the service."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from faults.records import JobRecord, read_records
from headrace.adapters.database import StatementPool
from support.harness import Api

FINAL: Final = frozenset({"succeeded", "failed", "cancelled"})
MAX_LOSSES: Final = 5
# This repeats the table of `src` on purpose: with the code's own table, the checker would find no error.
MOVES: Final = {
    ("", "job.queued"): "queued",
    ("queued", "job.started"): "running",
    ("queued", "job.cancelled"): "cancelled",
    ("queued", "job.failed"): "failed",
    ("running", "job.requeued"): "queued",
    ("running", "job.succeeded"): "succeeded",
    ("running", "job.failed"): "failed",
    ("running", "job.cancelled"): "cancelled",
    ("failed", "job.retried"): "queued",
}
RUNNING_ONLY: Final = frozenset(
    {
        "attempt.lost",
        "job.cancel_requested",
        "step.started",
        "step.succeeded",
        "step.failed",
        "log",
        "file.created",
    }
)


async def assert_kept(
    api: Api,
    database: StatementPool,
    accepted: Sequence[str],
    ledger: Path | None = None,
    *,
    may_wait_for: frozenset[str] = frozenset(),
) -> dict[str, JobRecord]:
    """Assert that the *accepted* jobs break no rule. Return their stored records by id."""
    records = await read_records(database, accepted, ledger)
    for record in records.values():
        if record.state == "queued":
            record.waiting_for = (await api.job(record.id))["waiting_for"]
    broken = violations(accepted, records, may_wait_for)
    assert not broken, "\n".join(broken)
    return records


def violations(
    accepted: Sequence[str],
    records: Mapping[str, JobRecord],
    may_wait_for: frozenset[str] = frozenset(),
) -> list[str]:
    """Return every broken rule as a sentence that names the job."""
    broken = [f"{job_id}: accepted, and not there" for job_id in accepted if job_id not in records]
    for job_id, record in records.items():
        for rule in RULES:
            broken += [f"{job_id}: {sentence}" for sentence in rule(record)]
        if record.state not in FINAL and record.waiting_for not in may_wait_for:
            broken.append(f"{job_id}: neither ended nor waiting: {record.state}, {record.waiting_for}")
    return broken


def numbered(job: JobRecord) -> Iterator[str]:
    """Event numbers run from 1 to the job's head without a gap."""
    numbers = [event.seq for event in job.events]
    if numbers != list(range(1, job.event_seq + 1)):
        yield f"its events are numbered {numbers}, its head is {job.event_seq}"


def moved_legally(job: JobRecord) -> Iterator[str]:
    """The job makes only legal moves; only `job.retried` follows a final state."""
    state = ""
    for event in job.events:
        if (state, event.type) in MOVES:
            state = MOVES[state, event.type]
        elif event.type not in RUNNING_ONLY or state != "running":
            yield f"{event.type} (event {event.seq}) while {state or 'not accepted'}"
    if state != job.state:
        yield f"its log says {state}, its row {job.state}"


def accepted_one_result(job: JobRecord) -> Iterator[str]:
    """The log holds at most one result, and the row holds the same one."""
    results = [event.body.get("result") for event in job.of_type("job.succeeded")]
    if len(results) > 1:
        yield f"{len(results)} results were accepted"
    if results and results[-1] != job.result:
        yield "its row holds another result than its log"
    if job.state == "succeeded" and job.progress != 1:
        yield f"it succeeded at {job.progress:.0%}"


def attempts_in_turn(job: JobRecord) -> Iterator[str]:
    """Attempts are counted from 1, and only the newest one writes."""
    begun = [event.body["attempt"] for event in job.of_type("job.started")]
    if begun != list(range(1, job.attempt + 1)) or job.fence != job.attempt:
        yield f"its attempts are {begun}, its row counts {job.attempt} with fence {job.fence}"
    current = 0
    for event in job.events:
        if event.type == "job.started":
            current = event.body["attempt"]
        elif event.body.get("attempt", current) != current:
            yield f"attempt {event.body['attempt']} wrote {event.type} (event {event.seq}) during {current}"


def within_limits(job: JobRecord) -> Iterator[str]:
    """The row counts losses and tries as the log does, and none exceeds its limit.

    Only the job that is to blame counts a loss, and the first loss after progress counts from 0 again.
    """
    losses, failures, has_progress = 0, Counter[str](), True
    done: set[str] = set()
    for event in job.events:
        done |= {event.run} if event.type == "step.succeeded" else set()
        if event.type == "job.retried":
            losses, failures = 0, Counter({run: failures[run] for run in done})
        if event.type in {"job.retried", "step.succeeded"}:
            has_progress = True
        if event.type == "attempt.lost":
            losses = (0 if has_progress else losses) + event.body["blamed"]
            has_progress = False
        failures.update([event.run] if event.type == "step.failed" else [])
    if losses != job.losses or losses > MAX_LOSSES:
        yield f"{losses} losses in its log, {job.losses} in its row"
    if losses == MAX_LOSSES and job.state not in {"failed", "cancelled"}:
        yield f"{job.state} after {losses} losses"
    for step in job.steps:
        allowed = job.allowed.get(step.name, 1)
        if failures[step.key] != step.tries or step.tries > allowed:
            counts = f"{failures[step.key]} failures in its log, {step.tries} in its row"
            yield f"{step.key}: {counts}, {allowed} allowed"


def finished_once(job: JobRecord) -> Iterator[str]:
    """A step run succeeds once, after it was started, and is not started again."""
    started: set[str] = set()
    done: set[str] = set()
    for event in job.of_type("step.started", "step.succeeded"):
        if event.run in done:
            yield f"{event.run}: {event.type} (event {event.seq}) after it had succeeded"
        if event.type == "step.started":
            started.add(event.run)
        else:
            done.add(event.run)
    if done - started:
        yield f"succeeded without a start: {sorted(done - started)}"
    stored = {step.key for step in job.steps if step.state == "succeeded"}
    if stored != done:
        yield f"its log says that {sorted(done)} succeeded, its rows {sorted(stored)}"


def entered_once(job: JobRecord) -> Iterator[str]:
    """The ledger has one entry for each try of a step run, and none after it succeeded."""
    done = {event.run: event.body["attempt"] for event in job.of_type("step.succeeded")}
    tries = Counter((event.run, event.body["attempt"]) for event in job.of_type("step.failed"))
    for (run, attempt), count in Counter((entry.run, entry.attempt) for entry in job.entries).items():
        if attempt > done.get(run, attempt):
            yield f"{run}: entered in attempt {attempt}, it had succeeded in {done[run]}"
        if count > tries[run, attempt] + 1:
            yield f"{run}: entered {count} times in attempt {attempt}"
    succeeded = {event.run for event in job.of_type("step.succeeded")}
    if job.entries and succeeded - {entry.run for entry in job.entries}:
        yield f"succeeded without being entered: {sorted(succeeded)}"


RULES: Final = (
    numbered,
    moved_legally,
    accepted_one_result,
    attempts_in_turn,
    within_limits,
    finished_once,
    entered_once,
)
