"""Deleting a job, a preset or a tag removes its links, but never the linked objects."""

from headrace.adapters.database import StatementPool
from support.harness import Api


async def test_deleting_a_tagged_job_keeps_the_tag_and_drops_the_link(
    api: Api, database: StatementPool
) -> None:
    """Bug: deleting a job also deleted its tags, even those that other jobs used.

    Expected: the link is deleted with the job; the tag and its other links are kept.
    """
    gone = await api.submit("noop", tags=["shared", "lone"])
    kept = await api.submit("noop", tags=["shared"])
    await api.http.post(f"/api/v1/jobs/{gone['id']}/cancel")

    deleted = await api.http.delete(f"/api/v1/jobs/{gone['id']}")

    assert deleted.status_code == 204
    tags = (await api.http.get("/api/v1/tags")).json()["items"]
    assert [(tag["name"], tag["jobs"]) for tag in tags] == [("lone", 0), ("shared", 1)]
    assert await database.fetch("SELECT 1 FROM job_tags WHERE job_id = $1", gone["id"]) == []
    assert (await api.job(kept["id"]))["tags"] == ["shared"]


async def test_deleting_a_tag_keeps_the_job(api: Api, database: StatementPool) -> None:
    """Bug: deleting a tag also deleted the jobs and presets that carried it.

    Expected: only the links are deleted; the job and the preset are unchanged, except for the tag.
    """
    job = await api.submit("noop", tags=["gone", "kept"])
    body = {"title": "T", "pipeline": "noop", "params": {}, "tags": ["gone"]}
    preset = (await api.http.post("/api/v1/presets", json=body)).json()
    tags = (await api.http.get("/api/v1/tags")).json()["items"]
    tag = next(item for item in tags if item["name"] == "gone")

    deleted = await api.http.delete(f"/api/v1/tags/{tag['id']}")
    again = await api.http.delete(f"/api/v1/tags/{tag['id']}")

    assert (deleted.status_code, again.status_code) == (204, 404)
    assert await api.job(job["id"]) == job | {"tags": ["kept"]}
    assert (await api.http.get(f"/api/v1/presets/{preset['id']}")).json() == preset | {"tags": []}
    assert len(await database.fetch("SELECT 1 FROM job_tags")) == 1
    assert await database.fetch("SELECT 1 FROM preset_tags") == []
