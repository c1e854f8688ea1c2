"""Settings from the environment."""

from pathlib import Path

import msgspec
import pytest

from headrace.domain.quotas.quotas import NO_QUOTAS, Quotas
from headrace.settings import SAMPLE_SECRET, Settings, SettingsError, read_settings, take_variables

ROOT = Path(__file__).parents[2]


def test_the_defaults_are_those_of_a_local_service() -> None:
    settings = read_settings({})

    assert (settings.env, settings.auth, settings.lease_seconds) == ("local", "local", 15)
    assert settings.data_dir.is_absolute()


def test_bundled_pipelines_are_on_in_local_mode_and_off_in_production_unless_they_are_named() -> None:
    production = {
        "HEADRACE_ENV": "production",
        "HEADRACE_SECRET_KEY": "x" * 32,
        "HEADRACE_AUTH": "token",
    }

    assert read_settings({}).bundled_pipelines == ("noop", "ticks", "flaky", "crunch", "shootout")
    assert read_settings({"HEADRACE_BUNDLED": "none"}).bundled_pipelines == ()
    assert read_settings(production).bundled_pipelines == ()
    assert read_settings(production | {"HEADRACE_BUNDLED": "noop, crunch"}).bundled_pipelines == (
        "noop",
        "crunch",
    )
    assert "shootout" in read_settings(production | {"HEADRACE_BUNDLED": "all"}).bundled_pipelines


def test_lists_are_split_at_commas() -> None:
    assert read_settings({"HEADRACE_PIPELINES": "a.b, ./c.py ,"}).pipelines == ("a.b", "./c.py")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEADRACE_ENV", "staging"),
        ("HEADRACE_AUTH", "nobody"),
        ("HEADRACE_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("HEADRACE_TRUSTED_PROXIES", "0.0.0.0/0"),
        ("HEADRACE_TRUSTED_PROXIES", "::/0"),
        ("HEADRACE_CORS_ORIGINS", "https://app.example.com/path"),
        ("HEADRACE_PROVIDERS", "Big Co"),
        ("HEADRACE_LEASE_SECONDS", "soon"),
        ("HEADRACE_LEASE_SECONDS", "0"),
        ("HEADRACE_LEASE_SECONDS", "nan"),
        ("HEADRACE_WORKER_CONCURRENCY", "1.5"),
        ("HEADRACE_WORKER_CONCURRENCY", "100000"),
        ("HEADRACE_MAX_BODY_BYTES", "-1"),
        ("HEADRACE_MAX_STREAMS_PER_USER", "-1"),
        ("HEADRACE_MAX_CONNECTIONS", "0"),
        ("HEADRACE_DATABASE_CONNECTIONS", "7"),
        ("HEADRACE_RATE_LIMIT_USER", "-1"),
        ("HEADRACE_RATE_LIMIT_LOGIN", "many"),
        ("HEADRACE_DATABASE_URL", "mysql://here/there"),
        ("HEADRACE_DATABASE_SCHEMA", "my jobs"),
        ("HEADRACE_DATABASE_SCHEMA", 'jobs"; DROP TABLE users'),
        ("HEADRACE_DATABASE_SCHEMA", "2nd"),
        ("HEADRACE_DATABASE_SCHEMA", "$user"),
        ("HEADRACE_DATABASE_SCHEMA", "pg_jobs"),
        ("HEADRACE_DATABASE_SCHEMA", "information_schema"),
        ("HEADRACE_DATABASE_SCHEMA", "ä" * 32),
        ("HEADRACE_DATABASE_URL", "postgresql://h:port/x"),
        ("HEADRACE_REDIS_URL", "http://here"),
        ("HEADRACE_ALLOW_REMOTE", "perhaps"),
        ("HEADRACE_ALLOWED_HOSTS", "jobs.example.com,https://jobs.example.com"),
        ("HEADRACE_ALLOWED_HOSTS", "*"),
        ("HEADRACE_FILES_HOST", "https://files.example.com"),
        ("HEADRACE_STEP_ENV", "HEADRACE_TOKEN,a b"),
        ("HEADRACE_LOG_LEVEL", "loud"),
        ("HEADRACE_STEP_LOG_LEVEL", "loud"),
        ("HEADRACE_BUNDLED", "noop,shoutout"),
        ("HEADRACE_BUNDLED", "none,noop"),
    ],
)
def test_an_invalid_value_is_refused_in_one_line_that_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({variable: value})

    assert str(refused.value).startswith(variable)
    assert "\n" not in str(refused.value)


def test_production_refuses_local_authentication() -> None:
    with pytest.raises(SettingsError, match="HEADRACE_AUTH"):
        read_settings({"HEADRACE_ENV": "production", "HEADRACE_SECRET_KEY": "x" * 32})


@pytest.mark.parametrize("field", ["SECRET_KEY", "PROXY_SECRET", "JOB_TOKEN_KEY"])
def test_production_refuses_short_secrets(field: str) -> None:
    good = {
        "HEADRACE_ENV": "production",
        "HEADRACE_AUTH": "proxy",
        "HEADRACE_SECRET_KEY": "x" * 16,
        "HEADRACE_PROXY_SECRET": "y" * 16,
    }
    assert read_settings(good).env == "production"

    with pytest.raises(SettingsError, match=f"HEADRACE_{field}"):
        read_settings({**good, f"HEADRACE_{field}": "a"})


@pytest.mark.parametrize("secret", ["", "change-me"])
@pytest.mark.parametrize("auth", ["proxy", "token"])
def test_production_refuses_a_missing_or_sample_secret_key(auth: str, secret: str) -> None:
    given = {"HEADRACE_ENV": "production", "HEADRACE_AUTH": auth, "HEADRACE_TRUSTED_PROXIES": "127.0.0.1"}

    with pytest.raises(SettingsError, match="HEADRACE_SECRET_KEY is missing or still the sample value"):
        read_settings({**given, "HEADRACE_SECRET_KEY": secret})


def test_files_are_shown_on_another_host_than_the_service() -> None:
    given = {"HEADRACE_PUBLIC_URL": "https://jobs.example.com", "HEADRACE_FILES_HOST": "files.example.net"}
    assert read_settings(given).files_host == "files.example.net"

    with pytest.raises(SettingsError, match="HEADRACE_FILES_HOST must be another host"):
        read_settings({**given, "HEADRACE_FILES_HOST": "Jobs.example.com"})


def test_the_sample_secret_matches_the_example_file() -> None:
    assert f"HEADRACE_SECRET_KEY={SAMPLE_SECRET}" in (ROOT / ".env.example").read_text()


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(SettingsError, match="HEADRACE_DATABASE_URL is not set"):
        read_settings({}).require("database_url")


def test_every_setting_is_in_the_example_file() -> None:
    example = (ROOT / ".env.example").read_text()

    names = {field.name for field in msgspec.structs.fields(Settings)} - {"provider_settings"}
    missing = [name for name in names if f"HEADRACE_{name.upper()}=" not in example]

    assert missing == []


def test_no_source_file_reads_single_environment_variables() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "src").rglob("*.py")
        if any(word in path.read_text() for word in ("os.environ[", "os.environ.get", "os.getenv"))
    ]

    assert readers == []


def test_the_environment_of_steps_has_no_secrets_but_those_that_are_let_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings(
        database_url="postgresql://me:p%40ss@db/headrace",
        redis_url="redis://cache:6379/0",
        secret_key="k" * 32,
        step_env=("HEADRACE_TOKEN",),
    )
    monkeypatch.setattr(
        "os.environ",
        {
            "HEADRACE_DATABASE_URL": "postgresql://me:p%40ss@db/headrace",
            "HEADRACE_LOG_LEVEL": "debug",
            "HEADRACE_TOKEN": "hr_let_through",
            "DATABASE_URL": "postgresql+psycopg://me:p%40ss@db:5432/headrace",
            "CACHE": "redis://cache:6379/0",
            "DB_PASSWORD": "p@ss",
            "PGPASSWORD": "another",
            "PATH": "/usr/lib/p@ssages/bin",
            "API_KEY_OF_THE_AUTHOR": "kept",
        },
    )

    assert settings.step_environment() == {
        "HEADRACE_TOKEN": "hr_let_through",
        "PATH": "/usr/lib/p@ssages/bin",
        "API_KEY_OF_THE_AUTHOR": "kept",
    }


def test_a_split_environment_has_all_secrets_in_one_part() -> None:
    values = {
        "HEADRACE_DATABASE_URL": "postgresql://me:secret-1@db/headrace",
        "HEADRACE_REDIS_URL": "redis://:secret-2@cache/0",
        "HEADRACE_SECRET_KEY": "secret-3",
        "HEADRACE_PROXY_SECRET": "secret-4",
        "HEADRACE_JOB_TOKEN_KEY": "secret-5",
        "HEADRACE_PROVIDERS": "corp",
        "HEADRACE_PROVIDER_CORP_ISSUER": "https://id.example.com",
        "HEADRACE_PROVIDER_CORP_CLIENT_ID": "me",
        "HEADRACE_PROVIDER_CORP_CLIENT_SECRET": "secret-6",
        "HEADRACE_ADMINS": "ada",
    }
    settings = read_settings(values)

    plain, secret = settings.split_environment()

    assert plain["HEADRACE_ADMINS"] == "ada"
    assert not [value for value in plain.values() if "secret-" in value]
    assert set(settings.secrets) == {f"secret-{number}" for number in range(1, 7)}
    assert read_settings(plain | secret) == settings


def test_variables_are_taken_from_a_file_once(tmp_path: Path) -> None:
    path = tmp_path / "variables"
    path.write_bytes(b'{"HEADRACE_SECRET_KEY":"k"}')

    assert take_variables(path) == {"HEADRACE_SECRET_KEY": "k"}
    with pytest.raises(SettingsError, match="variables"):
        take_variables(path)


@pytest.mark.parametrize("value", [None, "", "0"])
@pytest.mark.parametrize("env", ["local", "production"])
def test_quotas_are_off_unless_they_are_set(env: str, value: str | None) -> None:
    variables = {"HEADRACE_ENV": env, "HEADRACE_AUTH": "token" if env == "production" else "local"}
    variables |= {"HEADRACE_SECRET_KEY": "a key of this test run alone"}
    if value is not None:
        variables |= {f"HEADRACE_QUOTA_{name.upper()}": value for name in Quotas.__struct_fields__}

    quotas = read_settings(variables).quotas

    assert quotas == NO_QUOTAS
    assert not quotas.limit_jobs


def test_each_quota_has_a_setting() -> None:
    names = Quotas.__struct_fields__
    variables = {f"HEADRACE_QUOTA_{name.upper()}": str(place) for place, name in enumerate(names, start=1)}

    quotas = read_settings(variables).quotas

    assert msgspec.structs.astuple(quotas) == tuple(range(1, len(names) + 1))


@pytest.mark.parametrize("value", ["-1", "many", "1.5"])
def test_a_quota_that_is_no_whole_number_from_0_stops_the_start(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^HEADRACE_QUOTA_UPLOADS: expected "):
        read_settings({"HEADRACE_QUOTA_UPLOADS": value})
