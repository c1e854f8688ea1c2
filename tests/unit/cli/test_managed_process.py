"""A part of the service that ends leaves no process behind."""

import signal
from pathlib import Path

from headrace.adapters.servers.processes import Process
from headrace.cli.managed_process import ManagedProcess
from support.patience import until


async def test_what_a_killed_worker_has_started_ends(tmp_path: Path) -> None:
    note = tmp_path / "note"
    reports: list[str] = []
    managed = ManagedProcess("worker 1", [], tmp_path, lambda _label, text: reports.append(text))
    managed._command = [
        "sh",
        "-c",
        f"sleep 600 & echo $! > {note}.part; mv {note}.part {note}; kill -KILL $$",
    ]

    status = await managed._run_once()

    assert status == -signal.SIGKILL
    started = Process.from_pid(int(note.read_text()))
    await until(lambda: started is None or not started.is_alive())
