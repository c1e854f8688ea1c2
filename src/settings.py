"""Typed settings. No other file reads the environment."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from headrace.adapters.postgres_url import PostgresAddress, parse_postgres_url
from headrace.adapters.redis_url import RedisAddress, parse_redis_url
from headrace.domain.pipelines.bundled import choose_bundled
from headrace.domain.quotas.quotas import Quotas
from headrace.domain.retention.terms import KEPT_KINDS, ChosenTerms, parse_term
from headrace.settings_checks import (
    SAMPLE_SECRET,
    SettingsError,
    check_settings,
    explain_fault,
    provider_variable,
)
from headrace.settings_names import explain_unknown
from headrace.settings_secrets import FILE_SUFFIX, SECRET_FIELDS, read_text

__all__ = [
    "SAMPLE_SECRET",
    "ProviderSettings",
    "Settings",
    "SettingsError",
    "explain_unknown_variables",
    "forget_private_variables",
    "read_settings",
    "take_variables",
]

_PREFIX: Final = "HEADRACE_"
_LIST: Final = "tuple[str, ...]"
_PATHS: Final = ("data_dir", "database_password_file", "redis_password_file")
_DATABASE_PASSWORD: Final = "PGPASSWORD"  # noqa: S105  (its name)
_SECRET_SUFFIXES: Final = ("_DATABASE_URL", "_REDIS_URL", "_SECRET_KEY", "_SECRET", "_TOKEN_KEY")
_PROVIDER_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_MiB: Final = 1024 * 1024
_REQUESTS_PER_MINUTE: Final = {"user": 6_000, "address": 12_000, "login": 60}


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `HEADRACE_PROVIDERS`. Its fields are `HEADRACE_PROVIDER_<NAME>_<FIELD>`."""

    name: str
    issuer: str | None = None
    client_id: str
    client_secret: str | None = None

    def __repr__(self) -> str:
        return f"ProviderSettings(name={self.name!r}, issuer={self.issuer!r})"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings. Each field is the environment variable `HEADRACE_<FIELD>`; see `.env.example`."""

    env: Literal["local", "production"] = "local"
    database_url: str | None = None
    database_password_file: Path | None = None
    database_schema: str | None = None
    redis_url: str | None = None
    redis_password_file: Path | None = None
    secret_key: str = SAMPLE_SECRET
    auth: Literal["local", "proxy", "token"] = "local"
    allow_remote: bool = False
    allowed_hosts: tuple[str, ...] = ()
    files_host: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    proxy_secret: str | None = None
    public_url: str | None = None
    providers: tuple[str, ...] = ()
    provider_settings: tuple[ProviderSettings, ...] = ()
    admins: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    job_token_key: str | None = None
    pipelines: tuple[str, ...] = ()
    bundled: tuple[str, ...] | None = None
    step_env: tuple[str, ...] = ()
    data_dir: Path = Path(".headrace")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    step_log_level: Literal["debug", "info", "warning", "error", "off"] = "info"

    lease_seconds: Annotated[float, Meta(ge=1, le=3600)] = 15
    worker_concurrency: Annotated[int, Meta(ge=1, le=1000)] = 50
    worker_processes: Annotated[int, Meta(ge=0, le=256)] = 0
    grace_seconds: Annotated[float, Meta(ge=0, le=3600)] = 20
    stop_seconds: Annotated[float, Meta(ge=2, le=7200)] = 25
    worker_host: str = "127.0.0.1"
    traces: Literal["off", "otlp"] = "off"
    worker_port: Annotated[int, Meta(ge=0, le=65535)] = 8001

    max_body_bytes: Annotated[int, Meta(ge=1024)] = 8 * _MiB
    max_file_bytes: Annotated[int, Meta(ge=1)] = 100 * _MiB
    max_output_bytes: Annotated[int, Meta(ge=1024)] = 256 * 1024
    max_job_output_bytes: Annotated[int, Meta(ge=1024)] = 16 * _MiB
    max_items_bytes: Annotated[int, Meta(ge=1024)] = 4 * _MiB
    max_result_bytes: Annotated[int, Meta(ge=1024)] = 1 * _MiB
    max_job_file_bytes: Annotated[int, Meta(ge=1)] = 1024 * _MiB
    max_streams_per_user: Annotated[int, Meta(ge=0)] = 10_000
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 20_000
    database_connections: Annotated[int, Meta(ge=8, le=1000)] = 16
    rate_limit_user: Annotated[int, Meta(ge=0, le=10_000_000)] | None = None
    rate_limit_address: Annotated[int, Meta(ge=0, le=10_000_000)] | None = None
    rate_limit_login: Annotated[int, Meta(ge=0, le=10_000_000)] | None = None

    keep_succeeded: str | None = None
    keep_failed: str | None = None
    keep_cancelled: str | None = None
    keep_files: str | None = None
    keep_audit: str | None = None

    quota_queued_jobs: Annotated[int, Meta(ge=0, le=100_000_000)] = 0
    quota_running_jobs: Annotated[int, Meta(ge=0, le=100_000_000)] = 0
    quota_stored_bytes: Annotated[int, Meta(ge=0, le=2**62)] = 0
    quota_uploads: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    quota_streams: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    quota_requests: Annotated[int, Meta(ge=0, le=1_000_000)] = 0

    @property
    def heartbeat_seconds(self) -> float:
        """A third of the lease, at most 5 s: a worker without a heartbeat for 20 s counts as gone."""
        return min(self.lease_seconds / 3, 5.0)

    @property
    def process_slots(self) -> int:
        """How many process steps a worker runs at once: one per core unless set."""
        return self.worker_processes or os.cpu_count() or 1

    @property
    def database(self) -> PostgresAddress:
        """The address of PostgreSQL. A SettingsError says that HEADRACE_DATABASE_URL is not set."""
        self.require("database_url")
        return parse_postgres_url(str(self.database_url), self.database_password_file, self.database_schema)

    @property
    def redis(self) -> RedisAddress | None:
        """The address of Redis, if there is one."""
        return parse_redis_url(self.redis_url, self.redis_password_file) if self.redis_url else None

    @property
    def read_connections(self) -> int:
        """How many of the database connections are for reads; changes have the others."""
        return self.database_connections * 5 // 8

    @property
    def bundled_pipelines(self) -> tuple[str, ...]:
        """The bundled pipelines that should be on."""
        return choose_bundled(self.bundled, self.env)

    @property
    def path_prefix(self) -> str:
        """The path of the public URL, without a slash at its end."""
        return urlsplit(self.public_url or "").path.rstrip("/")

    @property
    def blob_dir(self) -> Path:
        return self.data_dir / "files"

    def per_minute(self, limit: str) -> int:
        """Requests per minute for `user`, `address` or `login`. 0 means no limit, as in local mode."""
        configured: int | None = getattr(self, f"rate_limit_{limit}")
        if configured is not None:
            return configured
        return 0 if self.env == "local" else _REQUESTS_PER_MINUTE[limit]

    @property
    def quotas(self) -> Quotas:
        """What each user may use. Quotas that are not set do not hold, as in local mode."""
        return Quotas(**{name: getattr(self, f"quota_{name}") for name in Quotas.__struct_fields__})

    @property
    def kept(self) -> ChosenTerms:
        """How long ended jobs, files and audit entries are kept, as far as that is set."""
        texts = {kind: getattr(self, f"keep_{kind}") for kind in KEPT_KINDS}
        return ChosenTerms(**{kind: parse_term(text) for kind, text in texts.items() if text is not None})

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that must not appear in logs."""
        addresses = [
            address for address in (self.database if self.database_url else None, self.redis) if address
        ]
        values = [
            self.secret_key if self.secret_key != SAMPLE_SECRET else None,
            self.proxy_secret,
            self.job_token_key,
            *(provider.client_secret for provider in self.provider_settings),
            # A password that equals the user name is not secret.
            *(secret for address in addresses for secret in address.secrets if secret != address.user),
        ]
        return tuple(value for value in values if value)

    def step_environment(self) -> dict[str, str]:
        """Return the environment of processes that run authors' code: that of this process, without secrets.

        Variables of the service, and those that hold one of its secrets, are left out unless `step_env` names
        them.
        """
        urls, secrets = (self.database_url, self.redis_url), self.secrets
        return {
            name: value
            for name, value in os.environ.items()
            if name in self.step_env
            or not (
                name.startswith(_PREFIX)
                or name == _DATABASE_PASSWORD
                or value in urls
                or any(value == secret or f":{secret}@" in value for secret in secrets)
            )
        }

    def environment(self) -> dict[str, str]:
        """Return the environment variables that give another process these settings."""
        values = msgspec.structs.asdict(self)
        for provider in values.pop("provider_settings"):
            fields = msgspec.structs.asdict(provider)
            name = fields.pop("name")
            values |= {f"provider_{name}_{field}": value for field, value in fields.items()}
        return {_PREFIX + name.upper(): _format(value) for name, value in values.items() if value is not None}

    def split_environment(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the variables of `environment` in two parts: those that hold no secret, and the others.

        The second part has the password of a database URL without one as well.
        """
        variables = self.environment()
        secret = {name: value for name, value in variables.items() if name.endswith(_SECRET_SUFFIXES)}
        plain = {name: value for name, value in variables.items() if name not in secret}
        passwords = {name: value for name, value in os.environ.items() if name == _DATABASE_PASSWORD}
        return plain, secret | passwords

    def __repr__(self) -> str:
        """Return a text without values, because some are secrets."""
        return f"Settings(env={self.env!r}, auth={self.auth!r})"

    def require(self, *fields: str) -> None:
        """Check that settings are set which this command needs.

        Raises:
            SettingsError: one of *fields* is not set.
        """
        for field in fields:
            if not getattr(self, field):
                raise SettingsError(f"{_PREFIX}{field.upper()} is not set")


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from *environment*, by default that of the process.

    Raises:
        SettingsError: a value is invalid, or one that production needs is missing.
    """
    source = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        if field.name == "provider_settings":
            continue
        variable = _PREFIX + field.name.upper()
        raw = read_text(source, field.name, variable)
        if not raw:
            continue
        value: Any = (
            [entry.strip() for entry in raw.split(",") if entry.strip()] if _LIST in str(field.type) else raw
        )
        try:
            values[field.name] = msgspec.convert(value, field.type, strict=False, dec_hook=_decode)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{variable}: {explain_fault(str(error))}") from error
    providers = [_read_provider(name, source) for name in values.get("providers", ())]
    settings = Settings(**values, provider_settings=tuple(providers))
    check_settings(settings)
    paths = {name: getattr(settings, name) for name in _PATHS}
    return msgspec.structs.replace(
        settings, **{name: path.expanduser().absolute() for name, path in paths.items() if path is not None}
    )


def read_data_dir(environment: Mapping[str, str] | None = None) -> Path:
    """Return the data folder of *environment* only, for programs that need no valid settings."""
    source = os.environ if environment is None else environment
    return Path(source.get(f"{_PREFIX}DATA_DIR", "").strip() or Settings().data_dir).expanduser().absolute()


def explain_unknown_variables(settings: Settings, environment: Mapping[str, str] | None = None) -> str | None:
    """Return one line about variables that begin as settings do but are none; None if there are none.

    Variables that `step_env` names are for the steps.
    """
    names = {_PREFIX + name.upper() for name in Settings.__struct_fields__}
    names |= {_PREFIX + name.upper() + FILE_SUFFIX for name in SECRET_FIELDS & {*Settings.__struct_fields__}}
    for provider in settings.providers:
        names |= {provider_variable(provider, field) for field in ProviderSettings.__struct_fields__}
        names |= {provider_variable(provider, field) + FILE_SUFFIX for field in SECRET_FIELDS}
    return explain_unknown(os.environ if environment is None else environment, names | {*settings.step_env})


def forget_private_variables(settings: Settings) -> None:
    """Remove from this process what `step_environment` leaves out, so that no program of a step inherits it.

    The password of a database URL without one stays, because connections are opened with it later.
    """
    for name in os.environ.keys() - settings.step_environment().keys() - {_DATABASE_PASSWORD}:
        os.environ.pop(name)


def take_variables(path: Path) -> dict[str, str]:
    """Return the variables that another process of ours has left in a file, and remove the file.

    Raises:
        SettingsError: the file cannot be read.
    """
    try:
        variables = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        path.unlink()
    except (OSError, msgspec.MsgspecError) as error:
        raise SettingsError(f"cannot read the settings in {path}: {error}") from error
    return variables


def _read_provider(name: str, source: Mapping[str, str]) -> ProviderSettings:
    if not _PROVIDER_NAME.fullmatch(name):
        raise SettingsError(f"{_PREFIX}PROVIDERS: a name has small letters, digits and _, not {name!r}")
    values = {}
    for field in msgspec.structs.fields(ProviderSettings):
        variable = provider_variable(name, field.name)
        value = read_text(source, field.name, variable)
        if field.name != "name" and value:
            values[field.name] = value
        elif field.name == "client_id":
            raise SettingsError(f"{variable} is not set")
    return ProviderSettings(name=name, **values)


def _format(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _decode(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str) and "\0" not in value:
        return Path(value)
    raise ValueError("expected a path")
