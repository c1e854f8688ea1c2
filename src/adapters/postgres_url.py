"""Reads a URL of PostgreSQL as libpq does. Parameters that cannot be honoured are refused by name."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from msgspec import Struct

from headrace.adapters.server_urls import ServerUrlError, UrlParts, parse_port, split_host, split_url

SCHEMES: Final = ("postgresql", "postgres")
# asyncpg reads these from a URL, and from nowhere else.
_DRIVER: Final = (
    "gsslib",
    "krbsrvname",
    "passfile",
    "service",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
)
_FILES: Final = ("passfile", "sslcert", "sslcrl", "sslkey", "sslrootcert")
_PLACE: Final = ("host", "port", "user", "password", "dbname")
_SESSION: Final = ("application_name", "fallback_application_name", "options")
_CHOICES: Final = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "pgbouncer": ("true", "false"),
    # The values of what happens anyway.
    "channel_binding": ("prefer", "disable"),
    "client_encoding": ("utf8", "UTF8", "utf-8", "UTF-8", "auto"),
    "gssencmode": ("prefer", "disable"),
    "load_balance_hosts": ("disable",),
    "sslcertmode": ("allow",),
    "sslcompression": ("0",),
    "sslsni": ("1",),
}
_KNOWN: Final = frozenset((*_DRIVER, *_PLACE, *_SESSION, *_CHOICES, "connect_timeout"))
_SCHEMA_HINT: Final = "set HEADRACE_DATABASE_SCHEMA, or write options=-c%20search_path%3DNAME"
_HINTS: Final = {
    "channel_binding": (
        "the driver has no channel binding; remove the parameter, and use sslmode=verify-full"
        " with sslrootcert=system"
    ),
    "ssl": "write sslmode=require or sslmode=verify-full",
    "schema": _SCHEMA_HINT,
    "search_path": _SCHEMA_HINT,
}
SYSTEM_CERTIFICATES: Final = "system"
_SETTING: Final = re.compile(r"(-c|--)([A-Za-z_][A-Za-z0-9_.]*)=(.*)", re.DOTALL)
# Headrace sets these itself: its promises depend on them.
_RESERVED: Final = frozenset(
    {
        "enable_seqscan",
        "idle_in_transaction_session_timeout",
        "jit",
        "lock_timeout",
        "statement_timeout",
        "timezone",
    }
)


class PostgresAddress(Struct, frozen=True):
    """Where PostgreSQL is and how to log in. What is None or empty, asyncpg takes from libpq's variables.

    *session*: parameters of each session · *driver_url*: TLS and such, as asyncpg reads it · *has_pooler*:
    the URL says that PgBouncer stands between · *schema*: that of the setting, if there is one.
    """

    hosts: tuple[tuple[str, int | None], ...]
    user: str | None
    password: str | None
    database: str | None
    target: str | None
    connect_seconds: float | None
    session: dict[str, str]
    driver_url: str
    uses_system_certificates: bool
    tls_key_password: str | None
    has_pooler: bool
    files: dict[str, str]
    secrets: tuple[str, ...]
    password_file: Path | None = None
    schema: str | None = None

    def __repr__(self) -> str:
        """Return a text without the password."""
        return f"PostgresAddress(hosts={self.hosts!r}, database={self.database!r})"


def parse_postgres_url(
    url: str, password_file: Path | None = None, schema: str | None = None
) -> PostgresAddress:
    """Read *url*. *password_file* holds the password if the URL has none; *schema* is stronger than a path.

    Raises:
        ServerUrlError: it is not a URL of PostgreSQL, or has a parameter that is not supported.
    """
    parts = split_url(url, SCHEMES)
    parameters = {
        ("dbname" if name == "database" else name): value for name, value in parts.parameters.items()
    }
    for name, value in parameters.items():
        _check_parameter(name, value)
    password = parameters.get("password", parts.password)
    if password is not None and password_file is not None:
        raise ServerUrlError("it has a password, and so has the password file: remove one of them")
    uses_system = parameters.get("sslrootcert") == SYSTEM_CERTIFICATES
    if uses_system and parameters.setdefault("sslmode", "verify-full") != "verify-full":
        raise ServerUrlError("sslrootcert=system needs sslmode=verify-full")
    driver = {name: value for name, value in parameters.items() if name in _DRIVER}
    secrets = (password, parts.raw_password, parameters.get("sslpassword"))
    return PostgresAddress(
        hosts=tuple(_read_hosts(parts, parameters)),
        user=parameters.get("user", parts.user),
        password=password,
        database=parameters.get("dbname", parts.path.removeprefix("/") or None),
        target=parameters.get("target_session_attrs"),
        connect_seconds=_read_seconds(parameters.get("connect_timeout")),
        session=_read_session(parameters),
        driver_url=f"postgresql://?{urlencode(driver)}" if driver else "postgresql://",
        uses_system_certificates=uses_system,
        tls_key_password=parameters.get("sslpassword"),
        has_pooler=parameters.get("pgbouncer") == "true",
        files={
            name: driver[name]
            for name in _FILES
            if driver.get(name, SYSTEM_CERTIFICATES) != SYSTEM_CERTIFICATES
        },
        secrets=tuple(dict.fromkeys(secret for secret in secrets if secret)),
        password_file=password_file,
        schema=schema,
    )


def as_postgres_address(address: PostgresAddress | str) -> PostgresAddress:
    """Return *address*, or that of a URL."""
    return parse_postgres_url(address) if isinstance(address, str) else address


def _check_parameter(name: str, value: str) -> None:
    if name not in _KNOWN:
        hint = _HINTS.get(name) or "a parameter of the server is written as options=-c%20NAME%3DVALUE"
        raise ServerUrlError(f"the parameter {name!r} is not supported; {hint}")
    choices = _CHOICES.get(name)
    if choices is not None and value not in choices:
        hint = _HINTS.get(name) or f"expected {' or '.join(choices)}"
        raise ServerUrlError(f"{name}={value} is not supported: {hint}")


def _read_hosts(parts: UrlParts, parameters: dict[str, str]) -> Iterator[tuple[str, int | None]]:
    """Yield each host with its port. As in libpq, parameters are stronger than what stands before them."""
    places = [split_host(place) for place in parts.authority.split(",")] if parts.authority else []
    if hosts := parameters.get("host"):
        places = [(host, None) for host in hosts.split(",")]
        if not all(host for host, _ in places):
            raise ServerUrlError("a host in host= is empty")
    ports = [parse_port(port) for port in parameters["port"].split(",")] if "port" in parameters else []
    if ports and not places:
        places = [("", None)]
    if ports and len(ports) not in (1, len(places)):
        raise ServerUrlError(f"port= names {len(ports)} ports for {len(places)} hosts")
    for number, (host, port) in enumerate(places):
        yield host, ports[number % len(ports)] if ports else port


def _read_seconds(text: str | None) -> float | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise ServerUrlError("connect_timeout is not a whole number of seconds")
    return float(text) or None


def _read_session(parameters: dict[str, str]) -> dict[str, str]:
    """Return the parameters of the session. Options without `-c` stay as they are, as for Neon's proxy."""
    session: dict[str, str] = {}
    if name := parameters.get("application_name") or parameters.get("fallback_application_name"):
        session["application_name"] = name
    others: list[str] = []
    for option in _split_options(parameters.get("options", "")):
        if (setting := _SETTING.fullmatch(option)) is None:
            others.append(option)
            continue
        parameter = setting[2].lower()
        if parameter in _RESERVED:
            raise ServerUrlError(f"options: {parameter} is set by Headrace itself")
        session[parameter] = setting[3]
    return session | ({"options": " ".join(others)} if others else {})


def _split_options(options: str) -> Iterator[str]:
    """Yield each option; a value follows `-c` with or without a space."""
    try:
        words = iter(shlex.split(options))
    except ValueError as error:
        raise ServerUrlError("options: a quotation mark is not closed") from error
    for word in words:
        yield f"-c{next(words, '')}" if word == "-c" else word
