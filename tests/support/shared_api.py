"""People at one API, which a proxy has signed them in to, and what tests ask of it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
from msgspec import Struct
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from headrace.adapters.database import StatementPool
from support.harness import Api


class Town(Struct):
    """An API of many people, and its database."""

    api: Api
    database: StatementPool


@asynccontextmanager
async def signed_in(api: Api, name: str) -> AsyncIterator[Api]:
    """The same API as *name* sees it."""
    headers = {"X-Forwarded-Preferred-Username": name}
    async with httpx.AsyncClient(base_url=api.http.base_url, headers=headers, timeout=30) as client:
        yield Api(client, api.ws, api.app, api.server)


@contextmanager
def counted(api: Api) -> Iterator[list[str]]:
    """The statements that the requests of the block make in their transactions."""
    engine: AsyncEngine = api.app.state.services.engine
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The body of a problem, once it is known to be that one."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    return body
