"""Reads a URL of Redis. Parameters that cannot be honoured are refused by name."""

from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from headrace.adapters.server_urls import ServerUrlError, UrlParts, split_host, split_url

SCHEMES: Final = ("redis", "rediss", "unix")
_DEFAULT_PORT: Final = 6379
_TLS: Final = {
    "ssl_ca_certs": "",
    "ssl_certfile": "",
    "ssl_keyfile": "",
    "ssl_cert_reqs": ("required", "optional", "none"),
    "ssl_check_hostname": ("true", "false"),
}
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_KNOWN: Final = frozenset((*_TLS, "db", "client_name"))


class RedisAddress(Struct, frozen=True):
    """Where Redis is and how to log in there. *arguments* are those of redis-py's connections."""

    scheme: str
    arguments: dict[str, Any]
    user: str | None
    password: str | None
    secrets: tuple[str, ...]
    files: dict[str, str]
    password_file: Path | None = None

    def __repr__(self) -> str:
        """Return a text without the password."""
        return f"RedisAddress(scheme={self.scheme!r})"


def parse_redis_url(url: str, password_file: Path | None = None) -> RedisAddress:
    """Read *url*. *password_file* holds the password if the URL has none.

    Raises:
        ServerUrlError: it is not a URL of one Redis, or has a parameter that is not supported.
    """
    parts = split_url(url, SCHEMES)
    for name, value in parts.parameters.items():
        _check_parameter(name, value, parts.scheme)
    if parts.password is not None and password_file is not None:
        raise ServerUrlError("it has a password, and so has the password file: remove one of them")
    arguments: dict[str, Any] = dict(parts.parameters)
    database = arguments.pop("db", None)
    if parts.scheme == "unix":
        arguments["path"] = _socket_path(parts)
    else:
        database = parts.path.strip("/") or None if database is None else database
        host, port = split_host(_single(parts.authority)) if parts.authority else ("localhost", None)
        arguments |= {"host": host, "port": port or _DEFAULT_PORT}
    if parts.scheme == "rediss":
        # The name is not checked by default in redis-py: any certificate of the authority would do.
        arguments["ssl_check_hostname"] = (
            arguments.get("ssl_check_hostname", "true") == "true" and arguments.get("ssl_cert_reqs") != "none"
        )
    return RedisAddress(
        parts.scheme,
        arguments | {"db": _parse_database(database)},
        parts.user,
        parts.password,
        tuple(dict.fromkeys(secret for secret in (parts.password, parts.raw_password) if secret)),
        {name: arguments[name] for name in _FILES if name in arguments},
        password_file,
    )


def as_redis_address(address: RedisAddress | str) -> RedisAddress:
    """Return *address*, or that of a URL."""
    return parse_redis_url(address) if isinstance(address, str) else address


def _check_parameter(name: str, value: str, scheme: str) -> None:
    if name not in _KNOWN:
        raise ServerUrlError(f"the parameter {name!r} is not supported: expected {', '.join(sorted(_KNOWN))}")
    if name in _TLS and scheme != "rediss":
        raise ServerUrlError(f"{name} needs a URL that starts with rediss://")
    choices = _TLS.get(name)
    if choices and value not in choices:
        raise ServerUrlError(f"{name}={value} is not supported: expected {' or '.join(choices)}")


def _socket_path(parts: UrlParts) -> str:
    """Return the path of the socket. It may be relative: `unix://./redis.sock`."""
    path = parts.authority + parts.path
    if not path.strip("/"):
        raise ServerUrlError("it names no socket; expected unix:///run/redis/redis.sock")
    return path


def _single(authority: str) -> str:
    if "," in authority:
        raise ServerUrlError("it names several hosts: Redis Cluster and Sentinel are not supported")
    return authority


def _parse_database(text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise ServerUrlError("its database is not a number")
    return int(text)
