"""The URLs of PostgreSQL and Redis: what is read from them, and what is refused by name."""

from pathlib import Path

import pytest

from headrace.adapters.postgres_url import parse_postgres_url
from headrace.adapters.redis_url import parse_redis_url
from headrace.adapters.server_urls import ServerUrlError, read_password
from headrace.settings import SettingsError, read_settings


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://a:b@db/jobs", (("db", None),)),
        ("postgres://a:b@db:5433/jobs", (("db", 5433),)),
        ("postgresql://a@db1:1,db2,[::1]:3/jobs", (("db1", 1), ("db2", None), ("::1", 3))),
        ("postgresql:///jobs?host=/run/postgresql&user=hr", (("/run/postgresql", None),)),
        ("postgresql://%2Frun%2Fpostgresql:5433/jobs", (("/run/postgresql", 5433),)),
        ("postgresql:///jobs?host=a,b&port=1,2", (("a", 1), ("b", 2))),
        ("postgresql:///jobs?host=a,b&port=7", (("a", 7), ("b", 7))),
        ("postgresql://localhost/jobs?host=/cloudsql/p:r:i", (("/cloudsql/p:r:i", None),)),
        ("postgresql:///jobs?port=5433", (("", 5433),)),
        ("postgresql://", ()),
    ],
)
def test_hosts_are_read_as_libpq_reads_them(url: str, hosts: tuple[tuple[str, int | None], ...]) -> None:
    assert parse_postgres_url(url).hosts == hosts


def test_parameters_reach_the_session_and_the_driver() -> None:
    address = parse_postgres_url(
        "postgresql://me:p%40%2Fss@db/my%20jobs?sslmode=verify-full&sslrootcert=/ca.pem&application_name=x"
        "&options=-c%20search_path%3Da,%22b%22%20--work_mem=8MB%20-cfoo.bar=1%20project=p&connect_timeout=10"
        "&target_session_attrs=read-write&channel_binding=prefer&gssencmode=disable"
    )

    assert (address.user, address.password, address.database) == ("me", "p@/ss", "my jobs")
    assert address.driver_url == "postgresql://?sslmode=verify-full&sslrootcert=%2Fca.pem"
    assert address.session == {
        "application_name": "x",
        "search_path": "a,b",
        "work_mem": "8MB",
        "foo.bar": "1",
        "options": "project=p",
    }
    assert (address.connect_seconds, address.target) == (10, "read-write")
    assert address.files == {"sslrootcert": "/ca.pem"}
    assert "p@/ss" not in repr(address)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("channel_binding=require", "channel_binding=require is not supported"),
        ("keepalives=1", "'keepalives'"),
        ("statement_timeout=5s", "'statement_timeout' is not supported; a parameter of the server"),
        ("search_path=app", "options=-c%20search_path%3DNAME"),
        ("ssl=true", "sslmode=require"),
        ("sslmode=on", "sslmode=on is not supported: expected disable or allow"),
        ("sslmode=require&sslrootcert=system", "sslrootcert=system needs sslmode=verify-full"),
        ("target_session_attrs=master", "expected any or read-write"),
        ("connect_timeout=soon", "connect_timeout"),
        ("client_encoding=latin1", "client_encoding=latin1"),
        ("options=-c%20statement_timeout%3D0", "statement_timeout is set by Headrace itself"),
        ("options=-c%20Jit%3Don", "jit is set by Headrace itself"),
        ("options=%22", "a quotation mark is not closed"),
        ("host=a,b&port=1,2,3", "3 ports for 2 hosts"),
        ("host=a,,b", "a host in host= is empty"),
        ("port=x", "port is not a number"),
        ("sslmode", "a parameter has no value"),
    ],
)
def test_a_parameter_that_cannot_be_honoured_is_refused_by_name(query: str, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({"HEADRACE_DATABASE_URL": f"postgresql://me:secret@db/jobs?{query}"})

    assert str(refused.value).startswith("HEADRACE_DATABASE_URL: ")
    assert words in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("variable", ["HEADRACE_DATABASE_URL", "HEADRACE_REDIS_URL"])
@pytest.mark.parametrize(
    "password", ["se#cret", "se/cret", "se?cret", "se@cret", "1/0?se@cret", "se%cret", "se cret"]
)
def test_a_raw_special_character_never_leads_to_another_host(variable: str, password: str) -> None:
    scheme = "postgresql" if "DATABASE" in variable else "redis"

    with pytest.raises(SettingsError) as refused:
        read_settings({variable: f"{scheme}://:{password}@host.example.com:6379/0"})

    assert "percent-encode" in str(refused.value) or "a space" in str(refused.value)
    assert "cret" not in str(refused.value)


def test_an_exclamation_mark_needs_no_encoding() -> None:
    address = parse_redis_url("redis://:pa!ss:w&rd@cache:6380/2")

    assert address.password == "pa!ss:w&rd"
    assert address.arguments == {"host": "cache", "port": 6380, "db": 2}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://cache/abc", "database is not a number"),
        ("redis://cache/1/2", "database is not a number"),
        ("redis://cache?db=-1", "database is not a number"),
        ("redis://a:1,b:2", "Redis Cluster and Sentinel are not supported"),
        ("redis://cache?ssl_ca_certs=/ca.pem", "rediss://"),
        ("rediss://cache?ssl_cert_reqs=maybe", "expected required or optional or none"),
        ("redis://cache?socket_timeout=1", "'socket_timeout'"),
        ("redis://cache:0", "port"),
        ("redis://cache:port", "its port is not a number"),
        ("redis+sentinel://cache", "redis://"),
        ("unix://", "no socket"),
    ],
)
def test_a_url_of_redis_that_cannot_be_honoured_is_refused(url: str, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({"HEADRACE_REDIS_URL": url})

    assert str(refused.value).startswith("HEADRACE_REDIS_URL: ")
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("url", "path"), [("unix:///run/r.sock?db=1", "/run/r.sock"), ("unix://./r.sock?db=1", "./r.sock")]
)
def test_a_socket_may_have_a_relative_path(url: str, path: str) -> None:
    assert parse_redis_url(url).arguments == {"path": path, "db": 1}


@pytest.mark.parametrize(
    ("url", "is_checked"),
    [
        ("rediss://cache", True),
        ("rediss://cache?ssl_check_hostname=false", False),
        ("rediss://cache?ssl_cert_reqs=none", False),
    ],
)
def test_the_name_in_a_certificate_is_checked_unless_the_url_says_no(url: str, is_checked: bool) -> None:
    assert parse_redis_url(url).arguments["ssl_check_hostname"] is is_checked


@pytest.mark.parametrize("server", ["DATABASE", "REDIS"])
def test_a_password_file_must_be_of_use(server: str, tmp_path: Path) -> None:
    file, variable = tmp_path / "password", f"HEADRACE_{server}_PASSWORD_FILE"
    scheme = "postgresql" if server == "DATABASE" else "redis"
    url, with_password = f"{scheme}://me@host/0", f"{scheme}://me:other@host/0"

    with pytest.raises(SettingsError, match=f"{variable} is set without HEADRACE_{server}_URL"):
        read_settings({variable: str(file)})
    with pytest.raises(SettingsError, match=f"{variable}: .*No such file"):
        read_settings({variable: str(file), f"HEADRACE_{server}_URL": url})
    file.write_text("\n")
    with pytest.raises(SettingsError, match=f"{variable}: .* is empty"):
        read_settings({variable: str(file), f"HEADRACE_{server}_URL": url})
    file.write_text("pass word\n")
    with pytest.raises(SettingsError, match="remove one of them"):
        read_settings({variable: str(file), f"HEADRACE_{server}_URL": with_password})
    read_settings({variable: str(file), f"HEADRACE_{server}_URL": url})
    assert read_password(file) == "pass word"


def test_a_file_of_the_url_must_be_readable() -> None:
    with pytest.raises(
        SettingsError, match=r"HEADRACE_DATABASE_URL: sslrootcert names /no/ca\.pem, which cannot be read"
    ):
        read_settings(
            {"HEADRACE_DATABASE_URL": "postgresql://db/jobs?sslmode=verify-ca&sslrootcert=/no/ca.pem"}
        )


def test_every_password_of_a_url_is_a_secret() -> None:
    settings = read_settings(
        {
            "HEADRACE_DATABASE_URL": "postgresql://a@db1:1,db2:2/x?password=one%2F&sslpassword=two",
            "HEADRACE_REDIS_URL": "redis://:thr%65e@cache",
        }
    )

    assert set(settings.secrets) == {"one/", "two", "three", "thr%65e"}


def test_a_url_is_refused_with_its_own_error() -> None:
    with pytest.raises(ServerUrlError):
        parse_postgres_url("mysql://db")
