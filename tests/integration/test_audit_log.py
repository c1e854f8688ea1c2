"""The audit log records every admin write, by REST or GraphQL, and no reads."""

import asyncio
from typing import Any

import msgspec
import pytest

from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.every_route import NOT_HERE, ROUTES, Route, ask, objects
from support.harness import Api
from support.patience import PATIENCE_SECONDS, open_socket
from support.users import Person, bearer, behind_proxy, open_proxied

# GraphQL queries use POST because they are long. They change nothing.
READS = ("queryGraph",)
# The created object's id is not known when the entry is written; both carry the request id.
NAMELESS = ("submitJob", "submitJobs")
RUNNING = """
UPDATE jobs SET state = 'running', lease_owner = 'somebody', lease_expires_at = now() + interval '1 hour'
WHERE id = $1::text::uuid
"""
FAILED = "UPDATE jobs SET state = 'failed', finished_at = now() WHERE id = $1::text::uuid"


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return behind_proxy(module_settings)


def changes(route: Route) -> bool:
    return route.method not in ("GET", "WS") and route.operation not in READS


async def log_of(root: Person) -> list[dict[str, Any]]:
    """Return the audit log, oldest entry first."""
    items: list[dict[str, Any]] = (await root.ask("GET", "/audit-log")).json()["items"]
    return items[::-1]


async def test_each_change_by_an_admin_leaves_one_entry(api: Api, database: StatementPool) -> None:
    root = Person(api, "root")

    for number, route in enumerate(route for route in ROUTES if changes(route)):
        # One of these routes deletes its user.
        ada = Person(api, f"ada{number}")
        ids = await objects(ada)
        if route.operation in ("deleteJob", "retryJob"):
            await database.fetch(FAILED, ids["job_id"])
        if route.operation == "deletePipeline":
            ids["name"] = "crunch"  # without unfinished jobs
        before = await log_of(root)

        status, body = await ask(api, route, route.at(ids), root.headers)

        assert status < 300, (route, body)
        new = (await log_of(root))[len(before) :]
        named = next((ids[parameter] for parameter in route.parameters), None)
        if named is None and route.operation not in NAMELESS:
            named = msgspec.json.decode(body)["id"]
        assert [(entry["actor"], entry["action"], entry["object_id"]) for entry in new] == [
            ("root", route.operation, named)
        ]


async def test_reads_by_an_admin_leave_no_entry(api: Api) -> None:
    ada, root = Person(api, "ada"), Person(api, "root")
    ids = await objects(ada)

    for route in ROUTES:
        if not changes(route):
            status, body = await ask(api, route, route.at(ids), root.headers)
            assert status < 300 or route.operation in NOT_HERE, (route, body)

    assert await log_of(root) == []


async def test_owners_and_admin_keys_without_the_admin_scope_leave_no_entry(api: Api) -> None:
    ada, root = Person(api, "ada"), Person(api, "root")
    key = await root.key("jobs:write")
    count = len(await log_of(root))

    await objects(ada)
    submitted = await api.http.post("/api/v1/jobs", json={"pipeline": "noop"}, headers=bearer(key["key"]))

    assert submitted.status_code == 202
    assert len(await log_of(root)) == count


async def test_refused_changes_and_changes_by_the_owner_leave_no_entry(api: Api) -> None:
    ada, root = Person(api, "ada"), Person(api, "root")
    job_id = await ada.submit()
    cancelled = await root.ask("POST", f"/jobs/{job_id}/cancel", headers={"X-Request-Id": "by-root"})
    await root.ask("GET", f"/jobs/{job_id}")
    await root.ask("POST", f"/jobs/{job_id}/cancel")
    await ada.ask("PATCH", f"/jobs/{job_id}", json={"meta": {"a": 1}})

    log = (await root.ask("GET", "/audit-log")).json()

    assert cancelled.status_code == 202
    assert [(entry["actor"], entry["action"], entry["object_id"]) for entry in log["items"]] == [
        ("root", "cancelJob", job_id)
    ]
    assert log["items"][0]["request_id"] == "by-root"


async def test_a_submission_is_not_stored_if_its_audit_entry_cannot_be_written(
    settings: Settings, database: StatementPool
) -> None:
    async with open_proxied(settings) as api:
        ada, root = Person(api, "ada"), Person(api, "root")
        preset_id = (await objects(ada))["preset_id"]
        await database.fetch("ALTER TABLE audit_entries RENAME TO elsewhere")

        responses = [
            await root.ask("POST", f"/presets/{preset_id}/jobs", json={}),
            await root.ask("POST", "/jobs", json={"pipeline": "noop"}),
            await root.ask("POST", "/jobs/batch", json={"jobs": [{"pipeline": "noop"}]}),
        ]

    [row] = await database.fetch("SELECT count(*) AS jobs FROM jobs")
    assert [response.status_code for response in responses] == [500] * 3
    assert row["jobs"] == 1  # Ada's own


async def test_cancels_over_a_socket_are_rate_limited_and_recorded_once(
    settings: Settings, database: StatementPool
) -> None:
    async with open_proxied(settings, rate_limit_user=30) as api:
        ada, root = Person(api, "ada"), Person(api, "root")
        job_id = await ada.submit()
        await database.fetch(RUNNING, job_id)
        url = f"{api.ws}/api/v1/jobs/{job_id}/ws"
        async with open_socket(url, additional_headers=root.headers, max_queue=None) as socket:
            for _ in range(60):
                await socket.send('{"type":"cancel"}')
            codes: set[str | None] = set()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while "rate_limited" not in codes:
                    codes.add(msgspec.json.decode(await socket.recv()).get("code"))
    entries = await database.fetch("SELECT action FROM audit_entries")

    assert [row["action"] for row in entries] == ["cancelJob"]


async def test_a_cancel_over_a_socket_is_recorded_like_any_other(api: Api) -> None:
    ada, root = Person(api, "ada"), Person(api, "root")
    job_id = await ada.submit()

    async with open_socket(f"{api.ws}/api/v1/jobs/{job_id}/ws", additional_headers=root.headers) as socket:
        await socket.send('{"type": "cancel"}')
        async with asyncio.timeout(PATIENCE_SECONDS):
            await socket.wait_closed()

    entries = await log_of(root)
    assert [(entry["action"], entry["object_id"]) for entry in entries] == [("cancelJob", job_id)]


async def test_the_log_distinguishes_promotions_from_demotions(api: Api) -> None:
    ada, root = Person(api, "ada"), Person(api, "root")
    user_id = (await ada.ask("GET", "/me")).json()["id"]

    for is_admin in (True, False):
        await root.ask("PATCH", f"/users/{user_id}", json={"is_admin": is_admin})
    await root.ask("DELETE", f"/users/{user_id}")

    entries = await log_of(root)
    assert [(entry["action"], entry["object_id"], entry["detail"]) for entry in entries] == [
        ("patchUser", user_id, {"is_admin": True}),
        ("patchUser", user_id, {"is_admin": False}),
        ("deleteUser", user_id, None),
    ]


async def test_a_submissions_entry_and_its_job_share_the_request_id(
    api: Api, database: StatementPool
) -> None:
    root = Person(api, "root")

    created = await root.ask("POST", "/jobs", json={"pipeline": "noop"}, headers={"X-Request-Id": "by-root"})

    [entry] = await log_of(root)
    [row] = await database.fetch("SELECT id FROM jobs WHERE request_id = $1", entry["request_id"])
    assert str(row["id"]) == created.json()["id"]
