"""PostgreSQL is restarted, stopped and cut off under load: refusals are honest, and the service recovers."""

import asyncio
import signal
from pathlib import Path

import msgspec
import pytest

from faults import servers
from faults.form import by_form
from faults.scenes import Scene, under_load
from headrace.adapters.servers import EmbeddedServer, Servers
from headrace.settings import Settings


def assert_refusals_are_honest(scene: Scene) -> None:
    """Assert that every submission was answered, and each refusal has a `Retry-After`."""
    assert {job.state for job in scene.kept.values()} == {"succeeded"}
    assert scene.load.unanswered == []
    for refusal in scene.load.refusals:
        assert refusal.status_code == 503, refusal.text
        assert int(refusal.headers["retry-after"]) > 0


@pytest.fixture
def postgres(own_servers: Servers) -> EmbeddedServer:
    assert own_servers.postgres is not None
    return own_servers.postgres


async def test_immediate_restarts_of_postgresql_cost_no_lease(
    own: Settings, postgres: EmbeddedServer, ledger: Path
) -> None:
    patient = msgspec.structs.replace(own, lease_seconds=15)
    async with under_load(patient, ledger, 0.3) as scene:
        for _ in range(by_form(2, 10)):
            await servers.stop(postgres, signal.SIGQUIT)
            await servers.start(postgres)
            await scene.load.until_more(5)

    assert_refusals_are_honest(scene)
    assert sum(job.lost_attempts for job in scene.kept.values()) == 0


async def test_a_postgresql_outage_longer_than_the_leases_costs_no_lease(
    own: Settings, postgres: EmbeddedServer, ledger: Path
) -> None:
    async with under_load(own, ledger, 0.3) as scene:
        await scene.load.submit_many(5, hold_seconds=by_form(4.0, 20.0))
        await servers.stop(postgres, signal.SIGINT)
        await asyncio.sleep(by_form(3.0, 30.0))
        await servers.start(postgres)

    assert_refusals_are_honest(scene)
    assert scene.load.refusals
    assert sum(job.lost_attempts for job in scene.kept.values()) == 0, "run twice, though its worker lived"


async def test_repeatedly_cut_connections_cost_no_lease(own: Settings, ledger: Path) -> None:
    patient = msgspec.structs.replace(own, lease_seconds=15)
    async with under_load(patient, ledger, 0.3) as scene:
        for _ in range(by_form(25, 300)):
            await scene.database.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.3"
            )
            await asyncio.sleep(0.15)

    assert_refusals_are_honest(scene)
    assert sum(job.lost_attempts for job in scene.kept.values()) == 0
