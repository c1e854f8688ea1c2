"""The files of a job have a limit together, and count for the quota of the job's owner."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.settings import Settings
from support.harness import Api

FLOWS = Path(__file__).parents[1] / "journey" / "flows" / "sample_flows.py"
JOB_BYTES, OWNER_BYTES = 40, 100


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return msgspec.structs.replace(
        module_settings,
        pipelines=(str(FLOWS),),
        max_job_file_bytes=JOB_BYTES,
        quota_stored_bytes=OWNER_BYTES,
    )


async def run(service: Api, *names: str) -> dict[str, Any]:
    """Run a job that saves `hello NAME` for each name, and then about as much again."""
    job = await service.submit("names", params={"names": list(names)})
    done: dict[str, Any] = await service.finish(job["id"])
    return done


async def stored_bytes(service: Api) -> int:
    files = (await service.http.get("/api/v1/files")).json()["items"]
    return sum(file["size"] for file in files)


async def test_a_job_whose_files_exceed_its_limit_fails(service: Api) -> None:
    done = await run(service, "ada", "b" * 30)

    assert (done["state"], done["error"]["code"]) == ("failed", "files_too_large")
    assert f"at most {JOB_BYTES} bytes together" in done["error"]["message"]
    assert await stored_bytes(service) <= JOB_BYTES


async def test_a_job_whose_files_exceed_the_quota_of_its_owner_fails(service: Api) -> None:
    upload = await service.http.post("/api/v1/files", files={"file": ("a", b"x" * (OWNER_BYTES - 15))})
    assert upload.status_code == 201

    done = await run(service, "ada")

    assert (done["state"], done["error"]["code"]) == ("failed", "quota_exceeded")
    used = OWNER_BYTES - 15 + len("hello ada")
    assert f"at most {OWNER_BYTES} bytes together; {used} are in use" in done["error"]["message"]
    assert await stored_bytes(service) == used
    refusal = await service.http.post("/api/v1/files", files={"file": ("a", b"x" * 7)})
    assert (refusal.status_code, refusal.json()["used"]) == (413, used)


async def test_a_job_within_both_limits_succeeds(service: Api) -> None:
    assert (await run(service, "ada"))["state"] == "succeeded"
