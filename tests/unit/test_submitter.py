"""Retries and refusals of submissions, against a fake database."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from headrace.domain.jobs.errors import (
    IdempotencyConflictError,
    JobDeletedError,
    PresetBusyError,
    PresetNotFoundError,
)
from headrace.domain.jobs.submission.submission import (
    PLACEHOLDER_TEXT,
    JobSpec,
    NewJob,
    StoreResult,
    Submission,
    SubmissionKey,
)
from headrace.domain.jobs.submission.submitter import PipelineBusyError, SubmissionResult, Submitter
from headrace.domain.json_limits import MAX_JSON_BYTES, ValueTooLargeError
from headrace.domain.pipelines.service import Fault, ParamsInvalidError, PipelineUnknownError

ADA, PRESET, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCHEMA = {"type": "object", "properties": {"ticks": {"type": "integer"}}}
STALE = StoreResult("stale", NOON, "noon")
REPEATED = StoreResult("repeated", NOON, "noon")
STORED = StoreResult("stored", NOON, "noon")
KEY = SubmissionKey("mine", "{}")
FIRST = msgspec.json.encode({"id": str(UUID(int=4)), "state": "queued"})
BATCH = msgspec.json.encode({"items": [{"id": str(UUID(int=4))}, {"id": str(UUID(int=5))}]})


class FakeDatabase:
    """A database with one pipeline. `store` returns each of *verdicts* in turn, and then always the last."""

    def __init__(self, *verdicts: StoreResult) -> None:
        self.verdicts = list(verdicts)
        self.presets: set[UUID] = set()
        self.keys: dict[str, tuple[bytes | None, bool]] = {}
        self.jobs = {UUID(int=4)}
        self.lookups = 0
        """The number of times the pipeline was looked up."""
        self.name_lookups = 0
        self.stored: list[Submission] = []

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[dict[str, Any]]:
        if "FROM idempotency_keys" in statement:
            key = self.keys.get(arguments[1])
            return [{"answer": key[0], "is_same": key[1]}] if key else []
        if "FROM workers" in statement:
            return []
        if "FROM jobs" in statement:
            return [{"one": 1} for job_id in arguments[0] if job_id in self.jobs]
        if "FROM presets" in statement:
            return [{"one": 1}] if arguments[0] in self.presets else []
        assert "FROM pipelines" in statement
        return self._pipelines(statement, arguments[0])

    def _pipelines(self, statement: str, name: str) -> Sequence[dict[str, Any]]:
        if statement.startswith("SELECT DISTINCT name"):
            self.name_lookups += 1
            return [{"name": "ticks"}, {"name": "noop"}]
        self.lookups += 1
        if name != "ticks":
            return []
        return [
            {
                "name": "ticks",
                "version": 1,
                "params_schema": msgspec.json.encode(SCHEMA).decode(),
                "needs_process": False,
                "updated_at": NOON,
            }
        ]

    async def store(self, submission: Submission) -> StoreResult:
        self.stored.append(submission)
        return self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]

    async def submit(
        self, *specs: JobSpec, key: SubmissionKey | None = None, at: str = "$"
    ) -> SubmissionResult:
        return await Submitter(self, self.store).submit(ADA, specs, render, key=key, at=at)


def render(jobs: Sequence[NewJob]) -> bytes:
    return f"{len(jobs)} at {PLACEHOLDER_TEXT}".encode()


def job_spec(pipeline: str = "ticks", *, preset_id: UUID | None = None, **params: Any) -> JobSpec:
    return JobSpec(pipeline=pipeline, params=params, preset_id=preset_id)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each sleep, which takes no time."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return slept


async def test_a_stored_submission_returns_its_time() -> None:
    result = await FakeDatabase(STORED).submit(job_spec())

    assert (result.body, result.is_replayed, result.queues) == (b"1 at noon", False, ["default"])


async def test_a_pipeline_that_changed_meanwhile_is_looked_up_again_and_the_job_is_stored() -> None:
    database = FakeDatabase(STALE, STORED)

    result = await database.submit(job_spec())

    assert result.body == b"1 at noon"
    assert (database.lookups, len(database.stored)) == (2, 2)


async def test_a_constantly_changing_pipeline_is_refused_after_three_tries(
    pauses: list[float],
) -> None:
    database = FakeDatabase(STALE)

    with pytest.raises(PipelineBusyError, match=r"^the pipeline is being registered; try again$"):
        await database.submit(job_spec())

    assert (database.lookups, len(database.stored), pauses) == (3, 3, [])


async def test_a_constantly_changing_preset_is_refused_after_three_pauses(
    pauses: list[float],
) -> None:
    database = FakeDatabase(STALE)
    database.presets = {PRESET, OTHER}

    with pytest.raises(PresetBusyError, match=str(PRESET)):
        await database.submit(job_spec(preset_id=OTHER), job_spec(preset_id=PRESET))

    assert (len(database.stored), pauses) == (3, [0.1, 0.1, 0.1])


async def test_a_deleted_preset_is_refused_without_a_pause(pauses: list[float]) -> None:
    database = FakeDatabase(STALE)

    with pytest.raises(PresetNotFoundError, match=str(PRESET)):
        await database.submit(job_spec(preset_id=PRESET))

    assert (len(database.stored), pauses) == (1, [])


async def test_a_repeated_submission_returns_the_first_response() -> None:
    database = FakeDatabase(REPEATED)
    database.keys["mine"] = (FIRST, True)

    result = await database.submit(job_spec(), key=KEY)

    assert (result.body, result.is_replayed, result.news) == (FIRST, True, ())


async def test_a_repeated_batch_is_replayed_while_one_of_its_jobs_exists() -> None:
    database = FakeDatabase(REPEATED)
    database.keys["mine"] = (BATCH, True)

    assert (await database.submit(job_spec(), key=KEY)).body == BATCH


@pytest.mark.parametrize(
    ("response", "detail"),
    [
        (FIRST, "job 00000000-0000-0000-0000-000000000004"),
        (BATCH, "2 jobs from 00000000-0000-0000-0000-000000000004 on"),
    ],
)
@pytest.mark.parametrize("ticks", [1, "no longer valid"])
async def test_a_repeated_submission_whose_jobs_are_all_deleted_is_refused(
    response: bytes, detail: str, ticks: Any
) -> None:
    database = FakeDatabase(REPEATED)
    database.keys["mine"] = (response, True)
    database.jobs.clear()

    with pytest.raises(JobDeletedError) as refused:
        await database.submit(job_spec(ticks=ticks), key=KEY)

    assert str(refused.value) == (
        f"the idempotency key was used for {detail}, deleted since; use another key to submit again"
    )


@pytest.mark.parametrize("stored_key", [(FIRST, False), (None, True)])
async def test_a_key_of_another_request_or_without_a_stored_response_is_refused(
    stored_key: tuple[bytes | None, bool],
) -> None:
    database = FakeDatabase(REPEATED)
    database.keys["mine"] = stored_key

    with pytest.raises(IdempotencyConflictError, match="mine"):
        await database.submit(job_spec(), key=KEY)


async def test_a_key_that_was_deleted_meanwhile_is_used_again() -> None:
    database = FakeDatabase(REPEATED, STORED)

    result = await database.submit(job_spec(), key=KEY)

    assert (result.body, result.is_replayed, len(database.stored)) == (b"1 at noon", False, 2)


async def test_a_repeated_key_returns_its_response_even_if_its_params_no_longer_fit() -> None:
    database = FakeDatabase(STORED)
    database.keys["mine"] = (FIRST, True)

    result = await database.submit(job_spec(ticks="many"), key=KEY)

    assert (result.body, result.is_replayed, database.stored) == (FIRST, True, [])


@pytest.mark.parametrize("key", [None, KEY])
async def test_invalid_params_are_refused_with_an_unknown_key_and_without_a_key(
    key: SubmissionKey | None,
) -> None:
    with pytest.raises(ParamsInvalidError) as refused:
        await FakeDatabase(STORED).submit(job_spec(ticks="many"), key=key)

    assert str(refused.value) == "the parameters do not fit pipeline 'ticks'"
    assert refused.value.faults == [Fault("$.params.ticks", '"many" is not of type "integer"')]


async def test_every_fault_of_a_batch_is_reported_with_its_path() -> None:
    with pytest.raises(ParamsInvalidError) as refused:
        await FakeDatabase(STORED).submit(
            job_spec(ticks="a"), job_spec(), job_spec(ticks="b"), at="$.jobs[{}]"
        )

    assert str(refused.value) == "the parameters do not fit pipeline 'of the batch'"
    assert [fault.path for fault in refused.value.faults] == [
        "$.jobs[0].params.ticks",
        "$.jobs[2].params.ticks",
    ]


async def test_unknown_pipelines_are_reported_before_the_other_faults() -> None:
    gone = msgspec.structs.replace(job_spec("gone"), version=7)

    with pytest.raises(PipelineUnknownError) as refused:
        await FakeDatabase(STORED).submit(job_spec(ticks="a"), job_spec("none"), gone, at="$.jobs[{}]")

    assert str(refused.value) == "there is no pipeline 'none'"
    assert refused.value.faults == [
        Fault("$.jobs[1].pipeline", "there is no pipeline 'none'"),
        Fault("$.jobs[2].version", "there is no pipeline 'gone' version 7"),
        Fault("$.jobs[0].params.ticks", '"a" is not of type "integer"'),
    ]


async def test_an_unknown_pipeline_is_refused_with_the_nearest_name() -> None:
    database = FakeDatabase(STORED)

    with pytest.raises(PipelineUnknownError) as refused:
        await database.submit(*[job_spec("tiks")] * 5, at="$.jobs[{}]")

    advised = "there is no pipeline 'tiks' (did you mean 'ticks'?)"
    assert str(refused.value) == advised
    # The nearest of many names takes some time, so it is looked for only a few times, and the names once.
    messages = [fault.message for fault in refused.value.faults]
    assert messages == [advised] * 3 + ["there is no pipeline 'tiks'"] * 2
    assert database.name_lookups == 1


async def test_an_unknown_version_of_a_pipeline_has_no_nearest_name() -> None:
    newer = msgspec.structs.replace(job_spec("noop"), version=7)

    with pytest.raises(PipelineUnknownError, match=r"^there is no pipeline 'noop' version 7$"):
        await FakeDatabase(STORED).submit(newer)


@pytest.mark.parametrize("field", ["params", "meta"])
async def test_oversized_params_and_meta_are_refused_before_any_lookup(
    field: str,
) -> None:
    database = FakeDatabase(STORED)
    large = msgspec.structs.replace(job_spec(), **{field: {"text": "x" * MAX_JSON_BYTES}})

    with pytest.raises(ValueTooLargeError) as refused:
        await database.submit(job_spec(), large, at="$.jobs[{}]")

    assert refused.value.path == f"$.jobs[1].{field}"
    assert (database.lookups, database.stored) == (0, [])
