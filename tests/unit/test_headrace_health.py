"""The health check of the image asks the process of its container, and needs nothing but bash."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.namespaces import require_namespace
from support.patience import PATIENCE_SECONDS

SCRIPT = Path(__file__).parents[2] / "deploy" / "container" / "headrace-health"
BASH = shutil.which("bash") or "bash"


class Server(ThreadingHTTPServer):
    """Records the paths of the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """Is live, and not ready."""

    server: Server

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send_response({"/health/live": 200, "/health/ready": 503}.get(self.path, 404))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    """Run the server, and yield it."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def check(*arguments: str, inside: tuple[str, ...] = (BASH, str(SCRIPT)), **environment: str) -> int:
    """Run the script where no other program can be found, and return its exit status."""
    done = subprocess.run(
        [*inside, *arguments],
        env={"PATH": "", **environment},
        capture_output=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    return done.returncode


def test_the_status_says_whether_the_answer_is_200() -> None:
    with serving() as server:
        port = server.server_port
        assert check("live", str(port)) == 0
        assert check("ready", str(port)) == 1
        assert check("lively", str(port)) == 1


def test_nobody_who_listens_is_not_healthy() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))

        assert check("live", str(free.getsockname()[1])) == 1


def test_a_process_that_accepts_and_answers_nothing_is_not_healthy() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()

        assert check("live", str(silent.getsockname()[1])) == 1


def test_a_worker_without_probes_is_not_asked() -> None:
    assert check("live", "0") == 0


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("headrace", "api", "--host", "0.0.0.0", "--port", "{port}"), 1),  # noqa: S104
        (("headrace", "api", "--port={port}"), 1),
        (("headrace", "worker", "--queue", "api-calls"), 1),
        (("headrace", "worker", "--queue", "api"), 1),
        (("headrace", "migrate"), 0),
    ],
)
def test_without_a_port_the_command_of_pid_1_tells_it(command: tuple[str, ...], status: int) -> None:
    with serving() as server:
        port = server.server_port
        words = [word.format(port=port) for word in command]
        unshare, *options = require_namespace()
        # PID 1 is a shell with these words as its arguments. It stays: the script is not its last command.
        shell = (BASH, "-c", f"{BASH} {SCRIPT} ready; exit $?", *words)
        inside = (str(shutil.which(unshare)), *options, *shell)

        assert check(inside=inside, HEADRACE_WORKER_PORT=str(port)) == status
        assert server.paths == ["/health/ready"] * status
