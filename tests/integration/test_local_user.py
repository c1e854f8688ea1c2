"""The user of local mode comes back if its row is deleted while the API runs."""

from headrace.adapters.database import StatementPool
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
