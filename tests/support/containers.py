"""Runs compose.yaml with the container engine of this machine, from a copy of the sources."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import msgspec
from msgspec import Struct

from support.patience import PATIENCE_SECONDS

ROOT: Final = Path(__file__).parents[2]
IMAGE: Final = "headrace-compose-test:latest"
_PROXY_IMAGE: Final = "headrace-compose-test-proxy:latest"
SERVICES: Final = ("postgres", "redis", "api", "worker", "proxy")
_PROBE_SECONDS: Final = 10
_PULL_SECONDS: Final = 120
_BUILD_SECONDS: Final = 900
_KEY_FILE: Final = "/run/headrace/admin-key"
# The base images of the service, and those of compose.yaml without a profile.
_IMAGES: Final = (
    "docker.io/library/python:3.13-slim",
    "docker.io/library/postgres:17",
    "docker.io/valkey/valkey:8",
    "docker.io/library/debian:trixie-slim",
)


class Engine(Struct, frozen=True):
    """The commands of a container engine and of its compose."""

    program: tuple[str, ...]
    compose: tuple[str, ...]


class NoEngineError(Exception):
    """No container engine works here; the message says why, in a line."""


def find_engine() -> Engine:
    """Return the engine that CONTAINER_ENGINE and CONTAINER_COMPOSE name, or docker, or podman.

    Raises:
        NoEngineError: there is none, or its images are neither here nor can be pulled.
    """
    named = (os.environ.get("CONTAINER_ENGINE", ""), os.environ.get("CONTAINER_COMPOSE", ""))
    candidates = [
        ("docker", "docker compose"),
        ("podman", "podman-compose"),
        ("podman", "podman compose"),
    ]
    for program, compose in [named] if all(named) else candidates:
        engine = Engine(tuple(shlex.split(program)), tuple(shlex.split(compose)))
        if _answers(*engine.program, "info") and _answers(*engine.compose, "version"):
            break
    else:
        raise NoEngineError("neither docker nor podman works here with its compose")
    for image in _IMAGES:
        is_here = _answers(*engine.program, "image", "inspect", image)
        if not is_here and not _answers(*engine.program, "pull", "--quiet", image, seconds=_PULL_SECONDS):
            raise NoEngineError(f"the image {image} is not here, and no registry sends it")
    return engine


def _answers(*command: str, seconds: float = _PROBE_SECONDS) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=seconds).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class Stack:
    """The service of compose.yaml, in a folder of its own."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self.folder = folder
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")},
            "HEADRACE_IMAGE": IMAGE,
            "HEADRACE_PROXY_IMAGE": _PROXY_IMAGE,
            "HEADRACE_PORT": str(self.port),
        }

    def compose(self, *arguments: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Run a command of compose and return what it prints."""
        return self._run([*self._engine.compose, *arguments], seconds)

    def engine(self, *arguments: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Run a command of the engine and return what it prints."""
        return self._run([*self._engine.program, *arguments], seconds)

    def _run(self, command: list[str], seconds: float) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr[-3000:]}"
        return done.stdout

    def containers(self, service: str) -> list[str]:
        """Return the names of the running containers of a service."""
        return self._find("--filter", f"label=com.docker.compose.service={service}")

    def _find(self, *options: str) -> list[str]:
        project = f"label=com.docker.compose.project={self.folder.name}"
        return sorted(self.engine("ps", "--filter", project, "--format", "{{.Names}}", *options).split())

    def down(self, *arguments: str) -> None:
        """Stop and remove all containers, in order."""
        self.compose("down", "--timeout", "30", *arguments, seconds=2 * PATIENCE_SECONDS)
        self.remove_leftovers()

    def remove_leftovers(self) -> None:
        """Remove containers that compose has not: podman-compose forgets those that it has added."""
        for container in self._find("--all"):
            self.engine("rm", "--force", "--volumes", container)

    def up(self, *arguments: str) -> float:
        """Start all services, wait until they are healthy, and return how many seconds that took."""
        began = time.monotonic()
        self.compose("up", "--detach", "--no-build", *arguments, seconds=2 * PATIENCE_SECONDS)
        self.wait_until_ready()
        return time.monotonic() - began

    def scale(self, service: str, count: int) -> None:
        """Run *count* containers of a service; those that run are kept."""
        options = ("--detach", "--no-build", "--no-deps", "--no-recreate", "--scale", f"{service}={count}")
        self.compose("up", *options, service)

    def wait_until_ready(self) -> None:
        """Wait until the service is ready behind its proxy, each worker is ready, and all services run."""
        self.wait_until(self._is_ready, "the service is not ready")
        for service in SERVICES:
            self.wait_until(lambda name=service: self.containers(name) != [], f"{service} does not run")  # type: ignore[misc]
        for worker in self.containers("worker"):
            self.wait_until(lambda name=worker: self.is_healthy(name, port="8001"), f"{worker} is not ready")  # type: ignore[misc]

    def _is_ready(self) -> bool:
        try:
            health = httpx.get(f"{self.url}/health/ready", timeout=5, trust_env=False)
        except httpx.TransportError:
            return False
        return health.status_code == 200 and health.json()["degraded"] == []

    def is_healthy(self, container: str, *, port: str) -> bool:
        """Run the health check of a container, whatever the engine remembers of it."""
        return _answers(*self._engine.program, "exec", container, "headrace-health", "ready", port)

    @staticmethod
    def wait_until(condition: Callable[[], bool], problem: str = "nothing happened") -> None:
        """Poll until *condition* holds; *problem* is what a test that hangs says."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"{problem} after {PATIENCE_SECONDS:.0f} s"
            time.sleep(0.2)

    @contextmanager
    def container(
        self, *options: str, environment: dict[str, str], command: tuple[str, ...]
    ) -> Iterator[str]:
        """Run another container of the image in the network of the service; yield its name."""
        name = f"{self.folder.name}_extra"
        variables = [word for key, value in environment.items() for word in ("--env", f"{key}={value}")]
        network = ("--network", f"{self.folder.name}_default")
        self.engine("run", "--detach", "--name", name, *network, *options, *variables, IMAGE, *command)
        try:
            yield name
        finally:
            self.engine("rm", "--force", "--volumes", name)

    def ready_servers(self) -> int:
        """Return how many API containers the proxy sends requests to."""
        (proxy,) = self.containers("proxy")
        inside = msgspec.yaml.decode((ROOT / "compose.yaml").read_bytes())["services"]["proxy"][
            "healthcheck"
        ]["test"]
        command = [word.replace("$$", "$") for word in inside[1:]]
        try:
            return int(self.engine("exec", proxy, *command).split()[-1])
        except AssertionError:  # the status is not 200
            return 0

    def read_first_key(self) -> str:
        """Return the key of the first admin. The command to read it is that which `migrate` prints."""
        return self.compose(
            "run", "--rm", "-T", "--no-deps", "--entrypoint", "cat", "migrate", _KEY_FILE
        ).strip()

    def sizes(self) -> tuple[int, int]:
        """Return the bytes of the image of the service, and of the Python image below it."""
        inspected = [json.loads(self.engine("image", "inspect", name)) for name in (IMAGE, _IMAGES[0])]
        image, base = (int(found[0]["Size"]) for found in inspected)
        return image, base

    def logs(self, service: str) -> str:
        """Return what the containers of a service have written."""
        return self.compose("logs", service)


@contextmanager
def open_stack(engine: Engine, parent: Path) -> Iterator[Stack]:
    """Copy the sources, write secrets, build the image, and remove everything at the end but the image."""
    folder = parent / f"headrace{os.getpid()}"
    names = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    ignored = shutil.ignore_patterns("__pycache__", "node_modules", "results", ".env")
    for path in sorted(match for name in names for match in ROOT.glob(name)):
        if path.is_dir():
            shutil.copytree(path, folder / path.name, symlinks=True, ignore=ignored)
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy2(path, folder / path.name)
    subprocess.run(
        ["sh", "deploy/compose-secrets.sh"], cwd=folder, check=True, capture_output=True, timeout=60
    )
    stack = Stack(engine, folder)
    try:
        for target, image in (("service", IMAGE), ("proxy", _PROXY_IMAGE)):
            build = ("build", "--tag", image, "--target", target, "--file", "Containerfile", ".")
            stack.engine(*build, seconds=_BUILD_SECONDS)
        yield stack
    finally:
        stack.remove_leftovers()
        stack.compose("down", "--volumes")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
