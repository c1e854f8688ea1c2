"""An upload locks its owner while its row is stored, not while its bytes are dated in the store of files."""

from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from uuid_utils.compat import uuid7

from headrace.adapters.database import StatementPool
from headrace.domain.files.models import File
from headrace.domain.files.service import FileService
from headrace.domain.quotas.quotas import Quotas
from support.lease_driver import OWNER

_LOCK = "SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE NOWAIT"


async def test_the_owner_is_not_locked_while_the_bytes_are_renewed_in_the_transaction(
    engine: AsyncEngine, database: StatementPool
) -> None:
    locked: list[bool] = []
    file = File(
        id=uuid7(),
        owner_id=OWNER,
        name="a",
        media_type="text/plain",
        size=1,
        sha256=b"0" * 32,
        blob_key=uuid7(),
    )
    async with async_sessionmaker(engine, expire_on_commit=False)() as session:

        async def renew() -> None:
            locked.append(bool(await database.fetch(_LOCK, OWNER)) and session.in_transaction())

        await FileService(session, Quotas(stored_bytes=100)).create(file, renew)
        await session.commit()
    rows = await database.fetch("SELECT id FROM files")

    assert locked == [True]
    assert [row["id"] for row in rows] == [file.id]
