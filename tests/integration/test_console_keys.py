"""`headrace admin create-key` makes a key before anybody can sign in, and a start says that nobody can."""

import asyncio
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import delete, func, select
from structlog.testing import capture_logs

from headrace.cli.first_keys import FirstKey, KeyNotWrittenError, write_first_key
from headrace.cli.start_checks import check_start
from headrace.domain.accounts.console import ConsoleService
from headrace.domain.accounts.keys import make_key
from headrace.domain.accounts.models import ApiKey, AuditEntry, User
from headrace.domain.accounts.scopes import Scope
from headrace.domain.database import DatabaseAwayError
from headrace.settings import Settings
from support.harness import Api
from support.patience import PATIENCE_SECONDS
from support.users import bearer

COMMAND = str(Path(sys.executable).with_name("headrace"))


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return msgspec.structs.replace(module_settings, auth="token", secret_key="a-secret-of-this-run")


async def create_key(
    api: Api, username: str, scopes: list[str], lifetime: timedelta | None = None
) -> tuple[ApiKey, str]:
    async with api.app.state.services.sessions.begin() as session:
        return await ConsoleService(session).create_key(username, "a key", scopes, lifetime)


def start_lines(settings: Settings) -> list[str]:
    with capture_logs() as lines:
        check_start(settings, "127.0.0.1")
    return [line["event"] for line in lines]


async def test_a_key_of_the_command_lets_an_admin_in(api: Api, settings: Settings) -> None:
    command = [COMMAND, "admin", "create-key", "first", "--scope", "admin"]

    made = await asyncio.to_thread(
        subprocess.run,
        command,
        env=settings.environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )

    key = made.stdout.strip()
    me = (await api.http.get("/api/v1/me", headers=bearer(key))).json()
    entries = (await api.http.get("/api/v1/audit-log", headers=bearer(key))).json()["items"]
    assert (me["username"], me["is_admin"]) == ("admin", True)
    assert key not in made.stderr
    assert [(entry["actor"], entry["action"], entry["detail"]["user"]) for entry in entries] == [
        ("headrace admin", "makeApiKey", "admin")
    ]


async def test_a_key_has_only_its_scopes_and_its_lifetime(api: Api) -> None:
    key, _ = await create_key(api, "ci", ["jobs:read"], timedelta(days=2))
    again, _ = await create_key(api, "ci", ["jobs:write", "jobs:read"])

    assert (key.owner_id, key.scopes) == (again.owner_id, ["jobs:read"])
    assert again.expires_at is None
    assert key.expires_at is not None
    assert timedelta(days=1) < key.expires_at - datetime.now(UTC) < timedelta(days=3)


async def test_only_the_scope_admin_makes_an_admin(api: Api) -> None:
    _, plain = await create_key(api, "bob", ["jobs:read"])
    _, full = await create_key(api, "root", ["admin"])
    _, narrow = await create_key(api, "root", ["jobs:read"])

    seen = [(await api.http.get("/api/v1/me", headers=bearer(key))).json() for key in (plain, full, narrow)]

    assert [me["is_admin"] for me in seen] == [False, True, False]
    assert seen[2]["scopes"] == ["jobs:read"]


async def test_an_admin_of_the_command_gets_a_key_for_an_autoscaler(api: Api) -> None:
    await create_key(api, "operator", ["admin"])
    _, key = await create_key(api, "operator", ["metrics:read"])

    path = "/api/v1/queues/default/scaling?slots=10"
    scaling = (await api.http.get(path, headers=bearer(key))).json()

    assert scaling["wanted_workers"] == 0


async def test_a_start_warns_while_nobody_can_sign_in(api: Api, settings: Settings) -> None:
    before = await asyncio.to_thread(start_lines, settings)
    await create_key(api, "admin", ["admin"])
    after = await asyncio.to_thread(start_lines, settings)

    assert (before, after) == (["nobody_can_sign_in"], [])


async def test_a_migration_makes_the_first_keys_once(api: Api, settings: Settings, tmp_path: Path) -> None:
    admin, metrics = tmp_path / "admin-key", tmp_path / "metrics-key"

    output = [await asyncio.to_thread(migrate, settings, admin, metrics) for _ in range(2)]

    keys = {file: file.read_text().strip() for file in (admin, metrics)}
    me = (await api.http.get("/api/v1/me", headers=bearer(keys[admin]))).json()
    assert (me["is_admin"], await count_keys(api)) == (True, 2)
    assert stat.S_IMODE(admin.stat().st_mode) == 0o600
    assert stat.S_IMODE(metrics.stat().st_mode) == 0o640
    assert sorted(names_in(tmp_path)) == ["admin-key", "metrics-key"]
    assert f"is now in {admin}" in output[0]
    assert f"is in {admin}" in output[1]
    assert not [key for key in keys.values() if key in "".join(output)]


async def test_a_key_that_the_database_has_never_had_is_replaced(
    api: Api, settings: Settings, tmp_path: Path
) -> None:
    """As after a restore of another installation's backup, or with a new volume of PostgreSQL."""
    admin, metrics = tmp_path / "admin-key", tmp_path / "metrics-key"
    for file, mode in ((admin, 0o644), (metrics, 0o644)):
        file.write_text(make_key().text + "\n")
        file.chmod(mode)

    output = [await asyncio.to_thread(migrate, settings, admin, metrics) for _ in range(2)]

    keys = [file.read_text().strip() for file in (admin, metrics)]
    statuses = [(await api.http.get("/metrics", headers=bearer(key))).status_code for key in keys]
    assert (statuses, await count_keys(api)) == ([200, 200], 2)
    assert output[0].count("the database did not know the old one") == 2
    assert [stat.S_IMODE(file.stat().st_mode) for file in (admin, metrics)] == [0o600, 0o640]
    assert f"an API key with the scope admin is in {admin}\n" in output[1]


async def test_a_key_with_the_prefix_of_another_is_replaced(
    api: Api, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    await asyncio.to_thread(write_first_key, settings, file, Scope.ADMIN)
    prefix = file.read_text()[:15]
    forged = f"{prefix}_{'x' * 43}"
    async with api.app.state.services.sessions.begin() as session:
        await session.execute(delete(AuditEntry))
    file.write_text(forged)

    outcome = await asyncio.to_thread(write_first_key, settings, file, Scope.ADMIN)

    assert outcome is FirstKey.REPLACED
    assert not file.read_text().startswith(prefix)


@pytest.mark.parametrize("model", [ApiKey, User], ids=["the key", "its user"])
async def test_a_first_key_that_was_deleted_on_purpose_does_not_come_back(
    api: Api, settings: Settings, tmp_path: Path, model: type[ApiKey | User]
) -> None:
    admin, metrics = tmp_path / "admin-key", tmp_path / "metrics-key"
    await asyncio.to_thread(migrate, settings, admin, metrics)
    before = admin.read_text()
    async with api.app.state.services.sessions.begin() as session:
        await session.execute(delete(model))

    output = await asyncio.to_thread(migrate, settings, admin, metrics)
    admin.unlink()
    afterwards = await asyncio.to_thread(write_first_key, settings, admin, Scope.ADMIN)

    assert f"the API key in {admin} was deleted from the database: remove the file to get a new one" in output
    assert (before != admin.read_text(), afterwards, await count_keys(api)) == (True, FirstKey.MADE, 1)


@pytest.mark.parametrize("content", [b"root:x:0:0\n", b"\xff\x00" * 4_096, b"hr_0123456789ab_short"])
async def test_a_file_with_something_else_than_a_key_is_not_overwritten(
    api: Api, settings: Settings, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "passwd"
    file.write_bytes(content)

    with pytest.raises(KeyNotWrittenError, match="passwd: it holds something else than an API key"):
        await asyncio.to_thread(write_first_key, settings, file, Scope.ADMIN)

    assert (file.read_bytes(), await count_keys(api)) == (content, 0)


async def test_an_empty_file_gets_a_key(api: Api, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("\n")

    assert await asyncio.to_thread(write_first_key, settings, file, Scope.ADMIN) is FirstKey.MADE
    assert await asyncio.to_thread(write_first_key, settings, file, Scope.ADMIN) is FirstKey.KEPT


async def test_prometheus_reads_metrics_and_nothing_else_with_its_first_key(
    api: Api, settings: Settings, tmp_path: Path
) -> None:
    await asyncio.to_thread(write_first_key, settings, tmp_path / "key", Scope.METRICS_READ)
    headers = bearer((tmp_path / "key").read_text().strip())

    statuses = [
        (await api.http.get(path, headers=headers)).status_code
        for path in ("/metrics", "/api/v1/jobs", "/api/v1/users")
    ]

    assert statuses == [200, 403, 403]


async def test_nobody_can_guess_the_name_of_the_user_of_the_first_key(
    api: Api, settings: Settings, tmp_path: Path
) -> None:
    names = set()
    for name in ("one", "two"):
        await asyncio.to_thread(write_first_key, settings, tmp_path / name, Scope.ADMIN)
        headers = bearer((tmp_path / name).read_text().strip())
        names.add((await api.http.get("/api/v1/me", headers=headers)).json()["username"])

    assert len(names) == 2
    assert all(re.fullmatch(r"admin-[0-9a-f]{16}", name) for name in names)


async def test_a_first_key_that_cannot_be_written_is_not_in_the_database(
    api: Api, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(KeyNotWrittenError, match="cannot write the first key to"):
        await asyncio.to_thread(write_first_key, settings, tmp_path / "missing" / "key", Scope.ADMIN)
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyNotWrittenError, match="not a directory"):
        await asyncio.to_thread(write_first_key, settings, tmp_path / "file" / "key", Scope.ADMIN)

    assert await count_keys(api) == 0


async def test_a_first_key_that_the_database_refuses_leaves_no_file(
    settings: Settings, tmp_path: Path
) -> None:
    away = msgspec.structs.replace(settings, database_url="postgresql://me@127.0.0.1:1/none")

    with pytest.raises(DatabaseAwayError):
        await asyncio.to_thread(write_first_key, away, tmp_path / "key", Scope.ADMIN)

    assert names_in(tmp_path) == []


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def count_keys(api: Api) -> int:
    async with api.app.state.services.sessions.begin() as session:
        return int(await session.scalar(select(func.count()).select_from(ApiKey)))


def migrate(settings: Settings, admin: Path, metrics: Path) -> str:
    return subprocess.run(
        [COMMAND, "migrate", "--admin-key", str(admin), "--metrics-key", str(metrics)],
        env=settings.environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    ).stdout
