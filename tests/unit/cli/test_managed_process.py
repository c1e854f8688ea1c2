"""A part of the service that ends leaves no process behind, and one that refuses to start says so once."""

import asyncio
import gc
import signal
from pathlib import Path

from headrace.adapters.servers.processes import Process
from headrace.cli.managed_process import ManagedProcess
from headrace.workers.supervisor import REFUSED_EXIT
from support.patience import PATIENCE_SECONDS, until


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


async def test_a_refusal_is_not_logged_by_asyncio_if_another_process_has_refused_before(
    tmp_path: Path,
) -> None:
    logged: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: logged.append(context))
    managed = ManagedProcess("api", [], tmp_path, lambda _label, _text: None)
    managed._command = ["sh", "-c", f"echo headrace api: the clock is wrong; exit {REFUSED_EXIT}"]

    managed.start()
    assert managed.task is not None
    await asyncio.wait({managed.task}, timeout=PATIENCE_SECONDS)
    is_done = managed.task.done()
    managed.task = None
    gc.collect()

    assert (is_done, logged) == (True, [])
