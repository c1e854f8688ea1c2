"""An API process that hangs is killed and replaced, also if it is PID 1 of a container."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from faults import crashing, processes
from headrace.cli.managed_process import ManagedProcess
from headrace.settings import Settings
from support.harness import TLS, register_pipelines
from support.namespaces import pid_of_init, require_namespace
from support.patience import until_async


@pytest.mark.parametrize("place", ["process", "container"])
async def test_an_api_process_that_hangs_is_replaced(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    inside = require_namespace() if place == "container" else ()
    await register_pipelines(settings)
    for name, value in processes.environment_of(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", [str(_write_command(tmp_path, inside))])
    reports: list[str] = []
    port = processes.free_port()
    api = ManagedProcess(
        "api", ["api", "--port", str(port)], tmp_path, lambda _label, text: reports.append(text)
    )
    api.start()
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=TLS
        ) as client:
            await until_async(lambda: processes.is_live(client))
            with pytest.raises(httpx.TransportError):
                await client.post("/api/v1/jobs", json={"pipeline": "noop"}, timeout=60)
            await until_async(lambda: processes.is_live(client))
            response = await client.post("/api/v1/jobs", json={"pipeline": "noop"})
    finally:
        await api.stop(10, asyncio.Event())

    assert response.status_code == 202
    ends = [report for report in reports if report.startswith("ended")]
    assert ends == [f"ended ({'exit status 134' if inside else 'killed by SIGABRT'}): it restarts in 0.2 s"]
    log = api.log_file.read_text()
    assert "the event loop is blocked for more than 7 s" in log
    assert " in _break" in log  # the stack of the code that hangs


def test_a_command_that_is_pid_1_passes_signals_on_and_ends_with_the_status_of_its_child() -> None:
    program = (
        "from headrace.adapters.process_tree import run_below_init; run_below_init()\n"
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print(os.getpid(), flush=True)\n"
        "while True: time.sleep(0.1)"
    )
    command = [*require_namespace(), sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as outside:
        assert outside.stdout is not None
        assert int(outside.stdout.readline()) > 1
        os.kill(pid_of_init(outside.pid), signal.SIGTERM)

    assert outside.returncode == 7


def _write_command(folder: Path, inside: tuple[str, ...]) -> Path:
    """Write a command `headrace` whose first process hangs at the first submission."""
    command, mark = folder / "headrace", folder / "started"
    hangs = " ".join((*inside, *crashing.command("submitting", breaks="hang")))
    command.write_text(
        f'#!/bin/sh\nif [ -e {mark} ]; then exec {processes.HEADRACE[0]} "$@"; fi\n'
        f'touch {mark}\nexec {hangs} "$@"\n'
    )
    command.chmod(0o755)
    return command
