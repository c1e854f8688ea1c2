"""Redis (or Valkey) for one data folder: every write logged, nothing evicted, loopback only."""

from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Final

import redis

from headrace.adapters.servers.binaries import Kind, RedisBinaries, Source, nothing_found, search_redis
from headrace.adapters.servers.errors import ServerError
from headrace.adapters.servers.folders import Home, password_of, write_private
from headrace.adapters.servers.launch import Program, RunningServer, adopt, last_served, launch
from headrace.adapters.servers.server import EmbeddedServer, start

NAME: Final = "redis"
_SIGNALS: Final = ((SIGTERM, 15.0), (SIGKILL, 5.0))


def start_redis(data_dir: Path, source: Source = "any") -> EmbeddedServer:
    """Start Redis over *data_dir*/redis, or take over the one that a killed launcher left there.

    Its database 0 is ours.

    Raises:
        ServerError: no usable binaries, a folder that cannot be used, or another launcher at work there.
    """
    search = search_redis(source)
    if not search.found:
        raise nothing_found("Redis", source, search.problems)

    def serve(home: Home, port: int | None) -> tuple[RunningServer, tuple[str, ...]]:
        return _serve(home, port, source, search.found)

    return start(data_dir, NAME, serve, _address, root_may_run=True)


def program_of(home: Home) -> Program:
    """How the Redis of *home* is recognised, asked and ended."""
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
    return f"redis://:{password_of(home)}@127.0.0.1:{port}/0"


def _serve(
    home: Home, port: int | None, source: Source, found: list[RedisBinaries]
) -> tuple[RunningServer, tuple[str, ...]]:
    password = password_of(home)
    program = program_of(home)
    running = adopt(program, source)
    if running:
        return running, ("took over the Redis that a killed launcher had left running",)
    # Valkey and Redis do not read each other's newer files: stay with what wrote them.
    last = last_served(home)
    binaries = next((binaries for binaries in found if last and binaries.kind == last[0]), found[0])

    def command(own_port: int) -> list[str | Path]:
        write_private(_config_file(home), _config(home, own_port, password), home.account)
        return [binaries.server, _config_file(home)]

    try:
        return launch(program, binaries, port, command), ()
    except ServerError as error:
        # Redis itself would have the user "fix" the file, which here means to lose it.
        if any(sign in str(error) for sign in ("Bad file format", "RDB format")):
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
        # Its command line is what an orphan is recognised by.
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
        raise ServerError("the stored password is not that of the running Redis") from error
    except redis.RedisError:
        return False
    finally:
        client.close()
