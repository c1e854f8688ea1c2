"""Checks of the settings: values that are invalid, missing, or must not be combined."""

import ipaddress
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from headrace.adapters.installed_schema import find_name_fault
from headrace.adapters.postgres_url import PostgresAddress, parse_postgres_url
from headrace.adapters.redis_url import RedisAddress, parse_redis_url
from headrace.adapters.server_urls import ServerUrlError, read_password
from headrace.domain.errors import HeadraceError
from headrace.domain.pipelines.bundled import ALL, BUNDLED, NONE
from headrace.domain.retention.terms import FOREVER_WORD, KEPT_KINDS, parse_term

if TYPE_CHECKING:
    from headrace.settings import ProviderSettings, Settings

SAMPLE_SECRET: Final = "change-me"  # noqa: S105  (the value of .env.example, refused in production)

_PREFIX: Final = "HEADRACE_"
_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-fA-F:]+\](:[0-9]{1,5})?")
_PUBLIC_URL: Final = re.compile(rf"({_ORIGIN.pattern})(/(?!\.{{1,2}}(/|$))[A-Za-z0-9._~-]+)*", re.ASCII)
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_KNOWN_PROVIDERS: Final = ("github", "tone3000")
_MIN_SECRET_CHARS: Final = 16


class SettingsError(HeadraceError):
    """A setting is invalid or missing. The message names its variable."""


def provider_variable(name: str, field: str) -> str:
    """Return the variable that holds *field* of the sign-in provider *name*."""
    return f"{_PREFIX}PROVIDER_{name}_{field}".upper()


def explain_fault(text: str) -> str:
    """Return msgspec's message without the names of Python types."""
    for types, words in (
        ("`float`, got `str`", "a number"),
        ("`int`, got `str`", "a whole number"),
        ("`int | null`, got `str`", "a whole number"),
        ("`bool`, got `str`", "true or false"),
    ):
        text = text.replace(types, words)
    return text[:1].lower() + text[1:]


def check_settings(settings: "Settings") -> None:
    """Check that the values are valid and fit together.

    Raises:
        SettingsError: they do not.
    """
    _check_server("database", settings.database_url, settings.database_password_file, parse_postgres_url)
    _check_server("redis", settings.redis_url, settings.redis_password_file, parse_redis_url)
    _check_names(settings)
    _check_schema(settings.database_schema)
    _check_terms(settings)
    _check_files_host(settings)
    _check_auth(settings)
    _check_sign_in(settings)
    if settings.env == "production":
        if settings.auth == "local":
            raise SettingsError(
                f"{_PREFIX}AUTH: 'local' lets everybody in and is refused with {_PREFIX}ENV=production"
            )
        if settings.secret_key == SAMPLE_SECRET:
            raise SettingsError(f"{_PREFIX}SECRET_KEY is missing or still the sample value")
        if len(settings.secret_key) < _MIN_SECRET_CHARS:
            raise SettingsError(f"{_PREFIX}SECRET_KEY has fewer than {_MIN_SECRET_CHARS} characters")


def _check_server(
    name: str,
    url: str | None,
    password_file: Path | None,
    parse: Callable[[str, Path | None], PostgresAddress | RedisAddress],
) -> None:
    """Check the URL of a server, and that the files can be read which connections to it need."""
    variable = f"{_PREFIX}{name.upper()}"
    if url is None:
        if password_file is not None:
            raise SettingsError(f"{variable}_PASSWORD_FILE is set without {variable}_URL")
        return
    try:
        address = parse(url, password_file)
    except ServerUrlError as error:
        raise SettingsError(f"{variable}_URL: {error}") from error
    for parameter, file in address.files.items():
        if not os.access(file, os.R_OK):
            raise SettingsError(f"{variable}_URL: {parameter} names {file}, which cannot be read")
    if password_file is not None:
        try:
            read_password(password_file.expanduser())
        except OSError as error:
            raise SettingsError(f"{variable}_PASSWORD_FILE: {error}") from error


def _check_names(settings: "Settings") -> None:
    for field, names, pattern, kind in (
        ("allowed_hosts", settings.allowed_hosts, _HOST, "a host name such as jobs.example.com"),
        ("files_host", (settings.files_host or "localhost",), _HOST, "a host name such as files.example.com"),
        ("step_env", settings.step_env, _VARIABLE, "the name of a variable"),
    ):
        for name in names:
            if not pattern.fullmatch(name):
                raise SettingsError(f"{_PREFIX}{field.upper()}: {name!r} is not {kind}")
    for name in settings.bundled or ():
        if name not in (*BUNDLED, ALL, NONE):
            raise SettingsError(f"{_PREFIX}BUNDLED: {name!r} is none of {', '.join((*BUNDLED, ALL, NONE))}")
    if settings.bundled and len(settings.bundled) > 1 and {ALL, NONE} & {*settings.bundled}:
        raise SettingsError(f"{_PREFIX}BUNDLED: {ALL!r} and {NONE!r} stand by themselves")


def _check_schema(name: str | None) -> None:
    if name is not None and (fault := find_name_fault(name)) is not None:
        raise SettingsError(f"{_PREFIX}DATABASE_SCHEMA: {fault}")


def _check_terms(settings: "Settings") -> None:
    for kind in KEPT_KINDS:
        text = getattr(settings, f"keep_{kind}")
        try:
            parse_term(text or FOREVER_WORD)
        except ValueError as error:
            raise SettingsError(f"{_PREFIX}KEEP_{kind.upper()}: {error}, not {text!r}") from error


def _check_files_host(settings: "Settings") -> None:
    if settings.files_host is None or settings.public_url is None:
        return
    if settings.files_host.casefold() == (urlsplit(settings.public_url).hostname or ""):
        raise SettingsError(f"{_PREFIX}FILES_HOST must be another host than that of {_PREFIX}PUBLIC_URL")


def _check_auth(settings: "Settings") -> None:
    for network in settings.trusted_proxies:
        try:
            is_everyone = ipaddress.ip_network(network).prefixlen == 0
        except ValueError as error:
            raise SettingsError(
                f"{_PREFIX}TRUSTED_PROXIES: {network!r} is neither an address nor a network"
            ) from error
        if is_everyone:
            raise SettingsError(f"{_PREFIX}TRUSTED_PROXIES: {network!r} contains every address")
    for origin in settings.cors_origins:
        if not _ORIGIN.fullmatch(origin):
            raise SettingsError(
                f"{_PREFIX}CORS_ORIGINS: {origin!r} is not an origin such as https://app.example.com"
            )
    if settings.auth == "proxy" and not (settings.trusted_proxies or settings.proxy_secret):
        raise SettingsError(
            f"{_PREFIX}TRUSTED_PROXIES or {_PREFIX}PROXY_SECRET must be set with {_PREFIX}AUTH=proxy:"
            " otherwise anyone could send the headers of a user"
        )
    if settings.auth == "token" and settings.secret_key == SAMPLE_SECRET:
        raise SettingsError(f"{_PREFIX}SECRET_KEY is missing or still the sample value")
    for field in ("proxy_secret", "job_token_key"):
        value = getattr(settings, field)
        if value is not None and settings.env == "production" and len(value) < _MIN_SECRET_CHARS:
            raise SettingsError(f"{_PREFIX}{field.upper()} has fewer than {_MIN_SECRET_CHARS} characters")


def _check_sign_in(settings: "Settings") -> None:
    if settings.public_url is not None and not _PUBLIC_URL.fullmatch(settings.public_url):
        raise SettingsError(
            f"{_PREFIX}PUBLIC_URL: expected a URL such as https://jobs.example.com or"
            " https://example.com/headrace, without a slash at its end"
        )
    for provider in settings.provider_settings:
        _check_issuer(provider, settings.env)


def _check_issuer(provider: "ProviderSettings", env: str) -> None:
    variable = provider_variable(provider.name, "issuer")
    if provider.issuer is None:
        if provider.name not in _KNOWN_PROVIDERS:
            raise SettingsError(f"{variable} is not set")
        return
    try:
        parts = urlsplit(provider.issuer)
        # Over http an attacker on the network could forge the provider's answers.
        allows_http = env != "production" or (parts.hostname or "") in ("localhost", "127.0.0.1", "::1")
        schemes = ("https", "http") if allows_http else ("https",)
        is_valid = parts.scheme in schemes and bool(parts.hostname) and not (parts.query or parts.fragment)
    except ValueError:
        is_valid = False
    if not is_valid:
        raise SettingsError(f"{variable}: expected a URL that starts with https://")
