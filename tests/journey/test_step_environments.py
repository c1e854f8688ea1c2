"""Processes that run authors' code have no secrets of the service in their environment."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from faults import processes
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import Api, serving

FLOWS = Path(__file__).parent / "flows" / "environment_flows.py"
SECRETS = {
    "HEADRACE_PROXY_SECRET": "the secret of the proxy",
    "HEADRACE_JOB_TOKEN_KEY": "the key of job tokens",
    "HEADRACE_PROVIDER_CORP_CLIENT_SECRET": "the secret at a provider",
    "HEADRACE_FUTURE_PASSWORD": "the secret of a coming release",
    "PGPASSWORD": "the password of PostgreSQL",
    "ELSEWHERE": "the secret of the proxy",
}
ENVIRONMENT = {
    **SECRETS,
    "HEADRACE_PROVIDERS": "corp",
    "HEADRACE_PROVIDER_CORP_CLIENT_ID": "of a test",
    "HEADRACE_PROVIDER_CORP_ISSUER": "https://id.example.com",
    "OF_THE_HOST": "kept",
}


@pytest.fixture
def secretive(settings: Settings) -> Settings:
    return msgspec.structs.replace(
        settings, pipelines=(str(FLOWS),), secret_key="the key of this installation", lease_seconds=60
    )


async def look(api: Api, pipeline: str) -> dict[str, Any]:
    done = await api.finish((await api.submit(pipeline))["id"])
    assert done["state"] == "succeeded", done["error"]
    seen: dict[str, Any] = done["result"]
    return seen


def secrets_in(text: str, settings: Settings) -> list[str]:
    secrets = [settings.secret_key, str(settings.database_url), str(settings.redis_url), *SECRETS.values()]
    return [secret for secret in secrets if secret in text]


async def test_a_process_step_and_its_parents_see_no_secrets(secretive: Settings) -> None:
    async with serving(secretive) as api, processes.supervised(secretive, **ENVIRONMENT):  # type: ignore[arg-type]
        seen = await look(api, "apart")

    assert len(seen["processes"]) == 3
    for text in (str(seen["environment"]), *seen["processes"]):
        assert secrets_in(text, secretive) == []
        assert "HEADRACE_" not in text
        assert "OF_THE_HOST" in text


async def test_a_step_in_the_worker_and_its_programs_inherit_no_secrets(secretive: Settings) -> None:
    async with serving(secretive) as api, processes.supervised(secretive, **ENVIRONMENT):  # type: ignore[arg-type]
        seen = (await look(api, "here"))["environment"]

    assert seen.pop("PGPASSWORD") == SECRETS["PGPASSWORD"]
    assert secrets_in(str(seen), secretive) == []
    assert "HEADRACE_" not in str(seen)
    assert seen["OF_THE_HOST"] == "kept"


async def test_listed_variables_reach_a_process_step(secretive: Settings) -> None:
    kept = ("HEADRACE_PROXY_SECRET", "PGPASSWORD")
    listing = msgspec.structs.replace(secretive, step_env=kept)
    async with serving(listing) as api, processes.supervised(listing, **ENVIRONMENT):  # type: ignore[arg-type]
        seen = (await look(api, "apart"))["environment"]

    assert {name: seen[name] for name in kept} == {name: SECRETS[name] for name in kept}
    assert not (SECRETS.keys() - set(kept)) & seen.keys()


async def test_the_process_of_a_suspect_sees_no_secrets(secretive: Settings, database: StatementPool) -> None:
    async with serving(secretive) as api, processes.supervised(secretive, "--queue", "other"):
        job = await api.submit("here", queue="suspects")
        await database.fetch("UPDATE jobs SET losses = 2")
        worker = processes.supervised(secretive, "--queue", "suspects", **ENVIRONMENT)  # type: ignore[arg-type]
        async with worker as started:
            done = await api.finish(job["id"])
            await started.wait_for_output("ran_alone")

    assert done["state"] == "succeeded", done["error"]
    environment, (process,) = done["result"]["environment"], done["result"]["processes"]
    assert environment.pop("PGPASSWORD") == SECRETS["PGPASSWORD"]
    for text in (str(environment), process):
        assert secrets_in(text, secretive) == []
        assert "OF_THE_HOST" in text
