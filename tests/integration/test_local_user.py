"""The user of local mode is looked up once, and comes back if its row is deleted while the API runs."""

import asyncio
from typing import Any

import pytest

from headrace.adapters.database import StatementPool
from headrace.api.auth.request_info import RequestInfo
from support.harness import Api


async def test_a_deleted_local_user_is_created_again_at_the_next_request(
    api: Api, database: StatementPool
) -> None:
    await api.submit("noop")
    await database.fetch("DELETE FROM users")

    refused = await api.http.post("/api/v1/jobs", json={"pipeline": "noop"})
    accepted = await api.http.post("/api/v1/jobs", json={"pipeline": "noop"})

    assert (refused.status_code, refused.json()["code"]) == (401, "token_invalid")
    assert accepted.status_code == 202


async def test_the_first_requests_share_one_lookup_of_the_local_user(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator = api.app.state.services.authenticator
    repository = authenticator._repository
    upsert, calls = repository.upsert_proxy_user, 0

    async def counting(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return await upsert(*arguments)

    monkeypatch.setattr(repository, "upsert_proxy_user", counting)
    authenticator.forget_local_user()

    request = RequestInfo({"type": "http", "headers": [], "query_string": b"", "client": None})
    callers = await asyncio.gather(*(authenticator.authenticate(request) for _ in range(20)))

    assert {caller.user.username for caller in callers} == {"dev"}
    assert calls == 1
