"""pg_dump and pg_restore: which one is used, and how it connects as the service does."""

from pathlib import Path

import pytest

from headrace.adapters.postgres_url import parse_postgres_url
from headrace.adapters.servers import client_tools
from headrace.adapters.servers.client_tools import ClientTool, ToolError, find_tool, libpq_environment

CONNECTION = {"LC_ALL": "C", "PGAPPNAME": "headrace"}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPASSWORD", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HEADRACE_SECRET_KEY", "secret")


def variables(url: str, password_file: Path | None = None) -> dict[str, str]:
    address = parse_postgres_url(url, password_file)
    environment = libpq_environment(address)
    assert not [name for name in environment if name.startswith("HEADRACE_")]
    return {name: value for name, value in environment.items() if name.startswith(("PG", "LC"))}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://", {}),
        (
            "postgresql://me:p%40ss@db:5433/jobs",
            {"PGHOST": "db", "PGPORT": "5433", "PGUSER": "me", "PGPASSWORD": "p@ss", "PGDATABASE": "jobs"},
        ),
        (
            "postgresql://me@one:5433,two/jobs?target_session_attrs=read-write&connect_timeout=5",
            {
                "PGHOST": "one,two",
                "PGPORT": "5433,",
                "PGUSER": "me",
                "PGDATABASE": "jobs",
                "PGTARGETSESSIONATTRS": "read-write",
                "PGCONNECT_TIMEOUT": "5",
            },
        ),
        (
            "postgresql://me@one,two/jobs",
            {"PGHOST": "one,two", "PGUSER": "me", "PGDATABASE": "jobs"},
        ),
        (
            "postgresql://me@%2Frun%2Fpostgresql/jobs?sslmode=disable",
            {"PGHOST": "/run/postgresql", "PGUSER": "me", "PGDATABASE": "jobs", "PGSSLMODE": "disable"},
        ),
        (
            "postgresql://me@db/jobs?sslmode=verify-full&sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem",
            {
                "PGHOST": "db",
                "PGUSER": "me",
                "PGDATABASE": "jobs",
                "PGSSLMODE": "verify-full",
                "PGSSLROOTCERT": "/ca.pem",
                "PGSSLCERT": "/c.pem",
                "PGSSLKEY": "/k.pem",
            },
        ),
        (
            "postgresql://me@db/jobs?options=-c%20role%3Dthe%5C%20owner%20-c%20search_path%3Da&application_name=x",
            {"PGHOST": "db", "PGUSER": "me", "PGDATABASE": "jobs", "PGOPTIONS": "-c role=the\\ owner"},
        ),
    ],
)
def test_the_programs_connect_as_the_service_does(url: str, expected: dict[str, str]) -> None:
    assert variables(url) == CONNECTION | expected


def test_the_password_of_a_file_is_given_in_the_environment(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from-a-file\n")

    assert variables("postgresql://me@db/jobs", tmp_path / "password")["PGPASSWORD"] == "from-a-file"


def test_variables_of_libpq_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICE", "jobs")

    assert variables("postgresql://")["PGSERVICE"] == "jobs"


def test_a_key_with_a_password_is_refused() -> None:
    with pytest.raises(ToolError, match="sslpassword"):
        variables("postgresql://me@db/jobs?sslkey=/k.pem&sslpassword=secret")


@pytest.mark.parametrize(
    ("installed", "server", "archive", "chosen"),
    [
        ([18, 16, 15], 16, 0, 16),
        ([18, 16, 15], 15, 0, 15),
        ([18, 15], 16, 0, 18),
        ([18, 16], 16, 18, 18),
        ([16, 15], 17, 0, None),
        ([], 15, 0, None),
    ],
)
def test_the_program_of_the_servers_version_is_used_or_the_next_newer_one(
    installed: list[int], server: int, archive: int, chosen: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = [ClientTool("pg_restore", Path(f"/{major}/pg_restore"), major) for major in installed]
    monkeypatch.setattr(client_tools, "_installed", lambda _: tools)

    if chosen is None:
        with pytest.raises(
            ToolError, match=f"no pg_restore of PostgreSQL {server} or newer found"
        ) as refusal:
            find_tool("pg_restore", server, archive)
        assert all(str(tool.path) in str(refusal.value) for tool in tools)
    else:
        assert find_tool("pg_restore", server, archive).major == chosen
