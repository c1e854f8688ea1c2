"""One request is one transaction: a refused or failed request leaves no writes."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from asyncpg import InternalClientError
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker

from headrace.domain.database import DatabaseAwayError
from headrace.domain.jobs.errors import PresetNotFoundError
from headrace.domain.presets.repository import PresetRepository
from headrace.domain.presets.service import PresetService
from support.harness import Api
from support.shared_api import SharedApi, problem

URL = "/api/v1/presets"
BODY: dict[str, Any] = {"title": "T", "pipeline": "noop", "params": {}, "tags": ["new"]}


async def row_counts(api: Api) -> list[int]:
    """Return the numbers of presets and tags."""
    return [(await api.http.get(f"/api/v1/{kind}")).json()["total"] for kind in ("presets", "tags")]


async def test_an_error_after_an_insert_rolls_back_everything(
    ada: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_tags = PresetRepository.set_tags

    async def fail_afterwards(self: PresetRepository, *args: Any) -> None:
        await set_tags(self, *args)
        raise RuntimeError("after all was written")

    monkeypatch.setattr(PresetRepository, "set_tags", fail_afterwards)

    response = await ada.http.post(URL, json=BODY)

    problem(response, 500, "internal_error")
    assert await row_counts(ada) == [0, 0]


async def test_a_failed_commit_is_reported_and_leaves_no_rows(
    ada: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_tags = PresetRepository.set_tags

    async def break_the_commit(self: PresetRepository, *args: Any) -> None:
        await set_tags(self, *args)
        for statement in (
            "CREATE TEMP TABLE twice (one int UNIQUE DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP",
            "INSERT INTO twice VALUES (1), (1)",
        ):
            await self._session.execute(text(statement))

    monkeypatch.setattr(PresetRepository, "set_tags", break_the_commit)

    response = await ada.http.post(URL, json=BODY)

    problem(response, 500, "internal_error")
    assert await row_counts(ada) == [0, 0]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (PresetNotFoundError(uuid4()), 404, "preset_not_found"),
        (DatabaseAwayError("restarted"), 503, "database_unavailable"),
        (InternalClientError("cannot switch to state 15"), 503, "database_unavailable"),
        (RuntimeError("a bug"), 500, "internal_error"),
    ],
)
async def test_a_rollback_on_a_lost_connection_does_not_hide_the_error_of_the_request(
    ada: Api, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    async def lose_connection(self: PresetService, *_: Any) -> None:
        # The transaction begins with its first statement.
        await self._session.execute(text("SELECT 1"))
        connection = await (await self._session.connection()).get_raw_connection()
        assert connection.driver_connection is not None
        connection.driver_connection.terminate()
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(PresetService, "get", lose_connection)
        response = await ada.http.get(f"{URL}/{uuid4()}")

    problem(response, status, code)
    assert await row_counts(ada) == [0, 0]


async def test_a_refused_change_leaves_everything_unchanged(ada: Api) -> None:
    await ada.http.post(URL, json=BODY | {"title": "Other", "tags": []})
    preset = (await ada.http.post(URL, json=BODY | {"tags": []})).json()

    refused = await ada.http.patch(f"{URL}/{preset['id']}", json={"title": "Other", "tags": ["never"]})

    problem(refused, 409, "title_taken")
    assert (await ada.http.get(f"{URL}/{preset['id']}")).json() == preset
    assert await row_counts(ada) == [2, 0]


async def test_a_missing_reference_and_a_taken_title_are_different_errors(
    ada: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = (await ada.http.post(URL, json=BODY)).json()

    async def mark_with_nothing(self: PresetRepository, preset: Any, _names: Any) -> None:
        link = text("INSERT INTO preset_tags (preset_id, tag_id) VALUES (:preset, :tag)")
        await self._session.execute(link, {"preset": preset.id, "tag": uuid4()})

    monkeypatch.setattr(PresetRepository, "set_tags", mark_with_nothing)

    taken = await ada.http.post(URL, json=BODY)
    missing = await ada.http.post(URL, json=BODY | {"title": "Other"})

    problem(taken, 409, "title_taken")
    problem(missing, 409, "reference_gone")
    assert (await ada.http.get(URL)).json()["items"] == [preset]


async def test_a_database_session_stays_usable_after_a_missing_reference(
    ada: Api, shared_api: SharedApi
) -> None:
    owner = UUID((await ada.http.post(URL, json=BODY)).json()["owner_id"])
    sessions = async_sessionmaker(ada.app.state.services.engine, expire_on_commit=False)
    new: dict[str, Any] = {"description": None, "pipeline": "noop", "params": {}, "tags": []}

    async with sessions.begin() as session:
        service = PresetService(session=session)
        with pytest.raises(IntegrityError):
            await service.create(uuid4(), title="of nobody", **new)
        await service.create(owner, title="after it", **new)

    titles = await shared_api.database.fetch(
        "SELECT title FROM presets WHERE owner_id = $1 ORDER BY title", owner
    )
    assert [row["title"] for row in titles] == ["T", "after it"]
