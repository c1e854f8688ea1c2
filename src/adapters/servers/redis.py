"""Redis (or Valkey) for one data folder: it logs every write, evicts nothing and listens on loopback only."""

from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Final

import redis

from headrace.adapters.servers.binaries import Kind, RedisBinaries, Source, nothing_found, search_redis
from headrace.adapters.servers.errors import ServerError
from headrace.adapters.servers.folders import Home, ensure_password, write_private
from headrace.adapters.servers.launch import Program, RunningServer, adopt, last_served, launch
from headrace.adapters.servers.server import EmbeddedServer, start

NAME: Final = "redis"
_SIGNALS: Final = ((SIGTERM, 15.0), (SIGKILL, 5.0))


def start_redis(data_dir: Path, source: Source = "any") -> EmbeddedServer:
    """Start Redis on *data_dir*/redis, or take over the one that a killed launcher left running.

    Headrace uses its database 0.

    Raises:
        ServerError: there are no usable binaries, the folder cannot be used, or another launcher uses it.
    """
    search = search_redis(source)
    if not search.usable:
        raise nothing_found("Redis", source, search.problems)

    def serve(home: Home, port: int | None) -> tuple[RunningServer, tuple[str, ...]]:
        return _serve(home, port, source, search.usable)

    return start(data_dir, NAME, serve, _address, root_may_run=True)


def build_program(home: Home) -> Program:
    """Describe how to recognise, probe and stop the Redis of *home*."""
    return Program(
        label="Redis",
        binary="-server",
        home=home,
        argument=str(_config_file(home)),
        own_pid_file=home.path / "redis.pid",
        answers=lambda port: _answers(port, home.password_file.read_text().strip()),
        signals=_SIGNALS,
    )


def _address(home: Home, port: int) -> str:
    return f"redis://:{ensure_password(home)}@127.0.0.1:{port}/0"


def _serve(
    home: Home, port: int | None, source: Source, usable: list[RedisBinaries]
) -> tuple[RunningServer, tuple[str, ...]]:
    password = ensure_password(home)
    program = build_program(home)
    running = adopt(program, source)
    if running:
        return running, ("took over the Redis that a killed launcher had left running",)
    # Valkey and Redis do not read each other's newer files: keep the one that wrote them.
    last = last_served(home)
    binaries = next((binaries for binaries in usable if last and binaries.kind == last[0]), usable[0])

    def command(own_port: int) -> list[str | Path]:
        write_private(_config_file(home), _config(home, own_port, password), home.account)
        return [binaries.server, _config_file(home)]

    try:
        return launch(program, binaries, port, command), ()
    except ServerError as error:
        # The message of Redis suggests to "fix" the file, which would lose data.
        if any(phrase in str(error) for phrase in ("Bad file format", "RDB format")):
            raise _not_readable(home, last, binaries) from error
        raise


def _not_readable(home: Home, last: tuple[Kind, str] | None, binaries: RedisBinaries) -> ServerError:
    writer = f"the {last[0]} server {last[1]}" if last else "another server"
    return ServerError(
        f"{home.path} was written by {writer} and {binaries.name} {binaries.version} cannot read it: "
        f"use that server or move that folder away"
    )


def _config_file(home: Home) -> Path:
    return home.path / "redis.conf"


def _config(home: Home, port: int, password: str) -> str:
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "protected-mode": "yes",
        "requirepass": password,
        "dir": _quoted(home.path),
        "pidfile": _quoted(home.path / "redis.pid"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        # An orphan is recognised by its command line.
        "set-proc-title": "no",
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _answers(port: int, password: str) -> bool:
    client = redis.Redis(
        host="127.0.0.1", port=port, password=password, socket_timeout=2, socket_connect_timeout=2
    )
    try:
        return bool(client.ping())
    except redis.AuthenticationError as error:
        raise ServerError("the running Redis has another password than the stored one") from error
    except redis.RedisError:
        return False
    finally:
        client.close()
