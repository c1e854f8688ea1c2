"""A simulated KEDA scales real workers by `/scaling`: no attempt is lost, and their number does not flap."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from faults import processes
from faults.autoscaler import Autoscaler, cluster_time
from faults.checker import assert_kept
from faults.fleet import GOOD_STATUSES, Fleet, deployed
from faults.form import by_form, seeded_random
from faults.load import Load
from faults.records import JobRecord
from faults.settling import running_in, settled
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import Api, open_api, register_pipelines, serving
from support.k8s import DEPLOYMENTS, container_of, name_of
from support.patience import STALL_SECONDS, until
from support.scale_changes import Submission, flaps
from support.scaled_objects import scaled_objects

(SCALED,) = scaled_objects()
(DEPLOYMENT,) = (
    param.values[0]
    for param in DEPLOYMENTS
    if name_of(param.values[0]) == f"Deployment/{SCALED.spec.scale_target_ref.name}"
)
START_SECONDS: Final = 10
"""From no worker to the first start of a job, in the time of the machine and with the poll of KEDA."""
_ARGUMENTS: Final = container_of(DEPLOYMENT)["args"]
SLOTS: Final = int(_ARGUMENTS[_ARGUMENTS.index("--concurrency") + 1])
SHORT, LONG = 3 * SLOTS + 1, 2 * SLOTS - 1
WINDOW_SECONDS: Final = SCALED.spec.behavior.scale_down.stabilization_window_seconds


class Tooth:
    """A burst of jobs whose steps wait at two gates, so that the test decides when they end."""

    def __init__(self, load: Load, folder: Path, number: int, random_source: random.Random) -> None:
        self._load = load
        self._gates = {kind: folder / f"{kind}-{number}" for kind in ("short", "long")}
        self._random = random_source
        self.ids: dict[str, list[str]] = {kind: [] for kind in self._gates}
        self.submissions: list[Submission] = []

    async def submit(self, short: int, long: int) -> None:
        """Submit short and long jobs in a random order."""
        kinds = ["short"] * short + ["long"] * long
        self._random.shuffle(kinds)
        sent_at = cluster_time()
        ids = await asyncio.gather(*(self._submit(kind) for kind in kinds))
        self.submissions.append(Submission(sent_at, cluster_time()))
        for kind, job_id in zip(kinds, ids, strict=True):
            self.ids[kind].append(job_id)

    async def _submit(self, kind: str) -> str:
        hold_seconds = self._random.random() if kind == "short" else 0
        gate = str(self._gates[kind])
        return await self._load.submit_until_accepted(gate=gate, hold_seconds=hold_seconds)

    def release(self, kind: str) -> None:
        """Open the gate of the jobs of this *kind*."""
        self._gates[kind].touch()


@asynccontextmanager
async def scaled(
    api: Api, settings: Settings, random_source: random.Random
) -> AsyncIterator[tuple[Autoscaler, Fleet]]:
    """Run the shipped Deployment and its autoscaler, which have never started a worker."""
    await register_pipelines(settings)
    async with deployed(DEPLOYMENT, settings, random_source) as fleet:
        autoscaler = Autoscaler(SCALED, api.http, fleet)
        async with autoscaler.running():
            yield autoscaler, fleet


async def run_in_all(database: StatementPool, job_ids: Sequence[str]) -> None:
    """Wait until each of the jobs waits at its gate."""
    for job_id in job_ids:
        await running_in(database, job_id, "carry[0]")


async def assert_no_change(autoscaler: Autoscaler, seconds: float) -> None:
    """Assert that the number of workers stays what it is for *seconds* of the cluster."""
    changes = list(autoscaler.changes)
    await autoscaler.pass_time(seconds)
    assert autoscaler.changes == changes


def assert_no_harm(kept: dict[str, JobRecord], fleet: Fleet) -> None:
    assert {(job.state, job.lost_attempts) for job in kept.values()} == {("succeeded", 0)}
    assert (fleet.killed, fleet.died) == (0, [])
    assert set(fleet.statuses) <= GOOD_STATUSES


async def lost_attempts(database: StatementPool) -> int:
    (row,) = await database.fetch("SELECT count(*) AS lost FROM job_events WHERE type = 'attempt.lost'")
    lost: int = row["lost"]
    return lost


def assert_first_start_in_time(kept: dict[str, JobRecord], job_id: str) -> None:
    """Assert the promise for a job that was submitted while no worker ran, and print the time.

    KEDA polls later than the simulation, so the whole interval counts instead of the wait for a poll.
    """
    wait = kept[job_id].start_wait
    seconds = SCALED.spec.polling_interval + wait
    print(f"first start {wait:.2f} s after the submission: {seconds:.2f} s with the poll")  # noqa: T201
    assert seconds < START_SECONDS + STALL_SECONDS


@pytest.mark.slow
async def test_a_saw_tooth_load_is_followed_without_flapping_and_without_a_lost_attempt(
    patient: Settings, database: StatementPool, ledger: Path, tmp_path: Path
) -> None:
    random_source = seeded_random()
    busy, calm = -(-(SHORT + LONG) // SLOTS), -(-LONG // SLOTS)
    teeth: list[Tooth] = []
    async with serving(patient) as api, scaled(api, patient, random_source) as (autoscaler, fleet):
        load = Load(api.http, ledger, items=1)
        submitted = await api.submit("relay", params={"ledger": str(ledger)}, run_at="2099-01-01T00:00:00Z")
        await assert_no_change(autoscaler, 3 * SCALED.spec.polling_interval)
        assert fleet.replicas == 0
        for number in range(by_form(2, 10)):
            tooth = Tooth(load, tmp_path, number, random_source)
            # The first worker starts alone: by the clock of the cluster, the others start too soon after it.
            await tooth.submit(1, 0)
            await run_in_all(database, tooth.ids["short"])
            await tooth.submit(SHORT - 1, LONG)
            await autoscaler.until_scaled(busy)
            await run_in_all(database, [*tooth.ids["short"], *tooth.ids["long"]])
            tooth.release("short")
            await settled(database, tooth.ids["short"])
            await autoscaler.until_scaled(calm)
            if number == 0:
                # Work that only runs, with nothing queued, keeps its workers however long it takes.
                await assert_no_change(autoscaler, SCALED.spec.cooldown_period + WINDOW_SECONDS)
            tooth.release("long")
            await settled(database, tooth.ids["long"])
            await autoscaler.until_scaled(0)
            await until(lambda: fleet.alive == 0)
            teeth.append(tooth)
        kept = await assert_kept(api, database, load.accepted, ledger)
        lost = await lost_attempts(database)
        delayed = await api.job(submitted["id"])

    assert_no_harm(kept, fleet)
    assert lost == 0
    assert delayed["state"] == "queued"
    submissions = [submission for tooth in teeth for submission in tooth.submissions]
    assert list(flaps(autoscaler.changes, submissions, WINDOW_SECONDS)) == []
    # Workers were stopped while they ran jobs.
    assert [event.body["reason"] for job in kept.values() for event in job.of_type("job.requeued")]
    for tooth in teeth:
        assert_first_start_in_time(kept, tooth.ids["short"][0])


@pytest.mark.slow
async def test_workers_of_the_fallback_go_on_while_the_api_is_away(
    patient: Settings, database: StatementPool, ledger: Path, tmp_path: Path
) -> None:
    port, random_source = processes.free_port(), seeded_random()
    async with processes.api(patient, port) as (api_process, address), open_api(address) as api:
        async with scaled(api, patient, random_source) as (autoscaler, fleet):
            load = Load(api.http, ledger, items=1)
            tooth = Tooth(load, tmp_path, 0, random_source)
            await tooth.submit(0, SLOTS - 1)
            await run_in_all(database, tooth.ids["long"])
            assert fleet.replicas == 1
            await api_process.kill()
            await autoscaler.until_scaled(SCALED.spec.fallback.replicas)
            tooth.release("long")
            await settled(database, load.accepted)
            await assert_no_change(autoscaler, SCALED.spec.cooldown_period)
            async with processes.api(patient, port):
                await autoscaler.until_scaled(0)
                second = Tooth(load, tmp_path, 1, random_source)
                second.release("short")
                await second.submit(1, 0)
                await settled(database, load.accepted)
                kept = await assert_kept(api, database, load.accepted, ledger)
        lost = await lost_attempts(database)

    assert_no_harm(kept, fleet)
    assert lost == 0
    assert_first_start_in_time(kept, second.ids["short"][0])
