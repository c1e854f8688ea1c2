"""What is wrong with Redis is told by name: at the start, in `doctor`, and in readiness while it lasts."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
import redis as sync_redis

from faults.processes import free_port
from headrace.adapters.redis_checks import RedisRefusedError, require_usable
from headrace.adapters.redis_client import build_redis, close_redis
from headrace.adapters.redis_url import parse_redis_url
from headrace.adapters.servers import find_redis
from headrace.cli.doctor import run_checks
from headrace.cli.start_checks import check_start
from headrace.settings import Settings, read_settings
from support.harness import Api, serving, working
from support.patience import until_async
from support.scratch import make_server_folder
from support.tls import Certificates, relayed

ALL = ("~*", "&*", "+@all")


@pytest.fixture
def admin(redis_url: str) -> Iterator[sync_redis.Redis]:
    with sync_redis.Redis.from_url(redis_url) as client:
        yield client
        call(client, "ACL", "DELUSER", "app")
        client.config_set("maxmemory-policy", "noeviction")


@pytest.fixture
def place(redis_url: str) -> str:
    return f"127.0.0.1:{parse_redis_url(redis_url).arguments['port']}"


def call(admin: sync_redis.Redis, *command: str) -> None:
    admin.execute_command(*command)  # type: ignore[no-untyped-call]


def set_user(admin: sync_redis.Redis, *rules: str) -> None:
    call(admin, "ACL", "SETUSER", "app", "reset", "on", ">secret", *rules)


async def refusal_of(url: str) -> str:
    """Return why Redis is refused, or `usable` or `away`."""
    redis = build_redis(url)
    try:
        return "usable" if await require_usable(redis) else "away"
    except RedisRefusedError as error:
        return error.reason
    finally:
        await close_redis(redis)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (ALL, "usable"),
        (("~*", "resetchannels", "+@all"), "missing right to PUBLISH on headrace:*"),
        ((*ALL, "-subscribe"), "missing right to SUBSCRIBE on headrace:*"),
        ((*ALL, "-info"), "missing right to INFO"),
        ((*ALL, "-eval"), "missing right to EVAL"),
        ((*ALL, "-bzpopmin"), "missing right to BZPOPMIN on arq:queue:*"),
        ((*ALL, "-select"), "missing right"),
        (("~arq:*", "&*", "+@all"), "missing right to GET on headrace:limit:*"),
        (("~headrace:*", "&*", "+@all"), "missing right to SET on arq:job:*"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
async def test_a_missing_right_is_named(
    admin: sync_redis.Redis, place: str, rules: tuple[str, ...], reason: str
) -> None:
    set_user(admin, *rules)

    assert await refusal_of(f"redis://app:secret@{place}/1") == reason


async def test_the_login_and_the_database_are_named(admin: sync_redis.Redis, place: str) -> None:
    set_user(admin, *ALL)

    reasons = [
        await refusal_of(f"redis://{login}{place}/{database}")
        for login, database in (
            ("app:wrong@", 0),
            ("nobody:secret@", 1),
            ("", 0),
            ("", 1),
            ("app:secret@", 999),
        )
    ]

    assert reasons == ["wrong password", "wrong password", "no password", "no password", "no such database"]


async def test_checks_change_nothing(admin: sync_redis.Redis, redis_url: str) -> None:
    assert await refusal_of(redis_url) == "usable"
    assert admin.dbsize() == 0


async def test_tls_on_one_side_only_is_named(redis_url: str, place: str, tmp_path: Path) -> None:
    login = redis_url.removeprefix("redis://").partition("@")[0]
    certificates = Certificates(tmp_path, "localhost")
    _, _, port = place.partition(":")
    async with relayed(
        ("127.0.0.1", int(port)), certificates.server_context(), is_postgres=False
    ) as tls_port:
        ca = f"ssl_ca_certs={certificates.ca}"
        reasons = {
            url: await refusal_of(f"{url.partition('://')[0]}://{login}@{url.partition('://')[2]}")
            for url in (
                f"rediss://localhost:{tls_port}?{ca}",
                f"rediss://127.0.0.1:{tls_port}?{ca}",
                f"rediss://127.0.0.1:{tls_port}?{ca}&ssl_check_hostname=false",
                f"rediss://localhost:{tls_port}",
                f"rediss://localhost:{tls_port}?ssl_cert_reqs=none",
                f"redis://127.0.0.1:{tls_port}",
                f"rediss://{place}",
            )
        }

    assert list(reasons.values()) == [
        "usable",
        "TLS fails",
        "usable",
        "TLS fails",
        "usable",
        "TLS fails",
        "TLS fails",
    ]


@pytest.fixture
async def cluster() -> AsyncIterator[str]:
    """A Redis in cluster mode, which cannot be switched on while it runs."""
    binaries = find_redis()
    assert binaries is not None
    folder, port = make_server_folder("headrace-cluster-"), free_port()
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--dir", str(folder)]
    # The port of its bus is 10,000 higher by default, which may be none.
    command = [str(binaries.server), *arguments, "--cluster-port", str(free_port()), "--save", ""]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}"

    async def has_answered() -> bool:
        return await refusal_of(url) != "away"

    try:
        await until_async(has_answered)
        yield url
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(folder)


async def test_cluster_mode_is_named(cluster: str) -> None:
    assert await refusal_of(cluster) == "cluster mode"


async def redis_entries(api: Api) -> list[str]:
    entries: list[str] = (await api.http.get("/health/ready")).json()["degraded"]
    return [entry for entry in entries if entry.startswith("redis")]


async def test_readiness_names_what_is_wrong_until_it_is_mended(
    admin: sync_redis.Redis, place: str, settings: Settings
) -> None:
    set_user(admin, *ALL)
    limited = msgspec.structs.replace(settings, redis_url=f"redis://app:secret@{place}/0")
    async with working(limited), serving(limited) as api:

        async def is_told(*entries: str) -> bool:
            return await redis_entries(api) == list(entries)

        for rules, entries in (
            (("resetchannels",), ["redis: missing right to PUBLISH on headrace:*"]),
            (("allchannels", "-bzpopmin"), ["redis: missing right to BZPOPMIN on arq:queue:*"]),
            (("+@all", "resetpass"), ["redis: wrong password"]),
            ((">secret",), []),
        ):
            call(admin, "ACL", "SETUSER", "app", *rules)
            call(admin, "CLIENT", "KILL", "USER", "app")
            await until_async(partial(is_told, *entries))
        admin.config_set("maxmemory-policy", "allkeys-lru")
        await until_async(partial(is_told, "redis: maxmemory-policy allkeys-lru"))
        finished = await api.finish((await api.submit("noop"))["id"])

    assert finished["state"] == "succeeded"


async def test_the_start_and_doctor_name_it(
    admin: sync_redis.Redis, place: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_user(admin, *ALL)
    wrong = msgspec.structs.replace(settings, redis_url=f"redis://app:wrong@{place}/0")
    for name, value in wrong.environment().items():
        monkeypatch.setenv(name, value)

    with pytest.raises(RedisRefusedError, match="HEADRACE_REDIS_URL is refused: wrong password") as at_start:
        await asyncio.to_thread(check_start, wrong, "127.0.0.1")
    with pytest.raises(RedisRefusedError) as by_worker:
        async with working(wrong):
            pass
    findings = await asyncio.to_thread(run_checks, None, "http://127.0.0.1:1", None)

    assert str(at_start.value) == str(by_worker.value)
    assert "\n" not in str(at_start.value)
    assert [finding.text for finding in findings if finding.subject == "Redis"] == [str(at_start.value)]


async def test_a_password_file_is_read_at_each_connection(
    admin: sync_redis.Redis, place: str, tmp_path: Path
) -> None:
    set_user(admin, *ALL)
    file = tmp_path / "password"
    file.write_text("secret\n")
    settings = read_settings(
        {"HEADRACE_REDIS_URL": f"redis://app@{place}/0", "HEADRACE_REDIS_PASSWORD_FILE": str(file)}
    )
    assert settings.redis is not None
    redis = build_redis(settings.redis)
    assert await require_usable(redis)

    call(admin, "ACL", "SETUSER", "app", "resetpass", ">rotated")
    file.write_text("rotated")
    call(admin, "CLIENT", "KILL", "USER", "app")

    async def is_usable() -> bool:
        return await require_usable(redis)

    await until_async(is_usable)
    file.unlink()
    call(admin, "CLIENT", "KILL", "USER", "app")
    assert not await require_usable(redis)
    await close_redis(redis)
