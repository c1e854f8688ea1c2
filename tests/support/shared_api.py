"""An API that is shared by many users, who are named by a proxy, and checks on its responses."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
from msgspec import Struct
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from headrace.adapters.database import StatementPool
from support.harness import TLS, Api
from support.patience import PATIENCE_SECONDS


class SharedApi(Struct):
    """An API that many users share, and its database."""

    api: Api
    database: StatementPool


@asynccontextmanager
async def signed_in(api: Api, name: str) -> AsyncIterator[Api]:
    """Yield the same API with the user *name* signed in by the proxy."""
    headers = {"X-Forwarded-Preferred-Username": name}
    async with httpx.AsyncClient(
        base_url=api.http.base_url, headers=headers, timeout=PATIENCE_SECONDS, verify=TLS
    ) as client:
        yield Api(client, api.ws, api.app, api.server)


@contextmanager
def counted(api: Api) -> Iterator[list[str]]:
    """Yield the list of SQL statements that requests run inside the block."""
    services = api.app.state.services
    engines: list[AsyncEngine] = [services.engine, services.read_engine]
    statements: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    for engine in engines:
        event.listen(engine.sync_engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        for engine in engines:
            event.remove(engine.sync_engine, "before_cursor_execute", record)


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """Assert that *response* is a problem with this status and code, and return its body."""
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    assert body["code"] == code
    return body
