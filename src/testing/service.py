"""Runs a whole Headrace for tests: PostgreSQL, Redis, the API and a worker, with the author's pipelines."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Unpack

from headrace.domain.errors import HeadraceError
from headrace_client import Client, Job, Reference
from headrace_client.calls import SubmitOptions
from headrace_client.frames import AnyEvent

START_SECONDS: Final = 300.0
_STOP_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_SHOWN_OUTPUT: Final = 4_000
_PAGE: Final = 1_000


class ServiceNotStartedError(HeadraceError):
    """`headrace up` has ended, or has not been ready in time. The message holds its output."""


class LiveService:
    """A running Headrace. *url* is its address, and *client* a client of it for everything else."""

    def __init__(self, client: Client) -> None:
        self.url = client.url
        self.client = client

    def submit(self, pipeline: str, params: Any = None, **options: Unpack[SubmitOptions]) -> Job:
        """Submit a job, and return it as it was stored.

        Raises:
            ApiError: the parameters do not fit, or there is no such pipeline.
        """
        return self.client.submit(pipeline, params, **options)

    def finish(self, job: Reference, *, timeout: float = 300.0) -> Job:
        """Wait until a job has ended, and return it.

        Raises:
            WaitTimeoutError: it has not ended within *timeout* seconds.
        """
        return self.client.wait(job, timeout=timeout)

    def events(self, job: Reference) -> list[AnyEvent]:
        """Return the history of a job up to now."""
        events: list[AnyEvent] = []
        while True:
            page = self.client.events(job, events[-1].seq if events else 0, limit=_PAGE)
            events += page.items
            if not page.items or events[-1].seq >= page.head:
                return events


@contextmanager
def running_service(sources: Sequence[str], folder: Path) -> Iterator[LiveService]:
    """Run `headrace up` for the block, with a data folder of its own.

    *sources* are the pipelines, as `HEADRACE_PIPELINES` has them; *folder* is where they are looked for. The
    variables of a service that the tests themselves may have are not passed on.

    Raises:
        ServiceNotStartedError: it does not start.
    """
    # A short path, since sockets of servers are in it.
    with tempfile.TemporaryDirectory(prefix="headrace-", ignore_cleanup_errors=True) as data:
        output = Path(data) / "up.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        environment |= {
            "HEADRACE_PIPELINES": ",".join(sources),
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if Path(entry).exists()),
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-m", "headrace", "up", "--port", "0", "--data-dir", f"{data}/data"]
        with output.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  (our own command)
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            with Client(_wait_for_address(process, output)) as client:
                yield LiveService(client)
        finally:
            _stop(process)


def _wait_for_address(process: "subprocess.Popen[bytes]", output: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = output.read_text(errors="replace")
        address = next((line.split()[1] for line in text.splitlines() if line.startswith("address ")), None)
        if address is not None:
            return address
        if process.poll() is not None:
            raise ServiceNotStartedError(
                f"headrace up has ended with status {process.returncode}: {text[-_SHOWN_OUTPUT:]}"
            )
        time.sleep(_POLL_SECONDS)
    raise ServiceNotStartedError(f"headrace up was not ready within {START_SECONDS:g} s")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
