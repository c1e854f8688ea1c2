"""Runs the demo: starts its own service, submits one job through the public API and saves the job's files."""

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from rich.console import Console
from rich.status import Status
from rich.text import Text

from headrace.cli.api_client import ApiClient
from headrace.cli.demo_job import DemoError, DemoJob, choose_job
from headrace.cli.fact_panel import show_facts
from headrace.cli.interrupts import Interrupts
from headrace.cli.job_view import JobViewModel
from headrace.cli.job_watch import JobWatch
from headrace.cli.service import Service, ServiceSpec, export_environment
from headrace.cli.text import format_size
from headrace.cli.typed_command import typed_command
from headrace.cli.up import running_servers
from headrace.cli.up_screen import display_path
from headrace.cli.watch_run import follow
from headrace.cli.watch_screen import LiveScreen, PlainScreen, WatchScreen
from headrace.settings import Settings

_RECONNECT_SECONDS: Final = 30
# The demo overrides the user's own settings.
_ENVIRONMENT: Final = {
    "HEADRACE_ENV": "local",
    "HEADRACE_AUTH": "local",
    "HEADRACE_PIPELINES": "",
    "HEADRACE_BUNDLED": "",
    "HEADRACE_LOG_LEVEL": "info",
    # After Ctrl-C the demo does not wait for the job.
    "HEADRACE_GRACE_SECONDS": "1",
}
_WITH_SOUND: Final = "make demo, or: pip install 'headrace[shootout]' and then headrace demo"
_SUFFIXES: Final = (".html", ".flac", ".png", ".svg")


class DemoView(Struct, frozen=True):
    """The terminal of the demo, with the status line that is shown until the job starts."""

    console: Console
    starting: Status


def run_demo(out: Path, data_dir: Path, *, is_small: bool = False) -> None:
    """Run one job and save its files in *out*. Everything is stopped afterwards.

    With *is_small* it is a job without files, which needs no further library.

    Raises:
        HeadraceError: the service does not start or the job does not succeed.
        KeyboardInterrupt: the user has pressed Ctrl-C.
    """
    job = choose_job(is_small=is_small)
    console = Console(highlight=False)
    began = time.monotonic()
    spec = ServiceSpec(
        settings=Settings(data_dir=data_dir), host="127.0.0.1", port=0, workers=1, data_dir=data_dir
    )
    interrupts = Interrupts()
    export_environment(_ENVIRONMENT)
    with interrupts.captured():
        console.print(Text(job.title, style="bold"))
        starting = console.status(Text("starting PostgreSQL, Redis, API and a worker ...", style="dim"))
        with starting, running_servers(spec) as (ready_spec, _):
            demo_view = DemoView(console, starting)
            saved = asyncio.run(_run_service(ready_spec, interrupts, demo_view, job, out))
    if saved is None:
        raise KeyboardInterrupt
    _conclude(console, job, saved, time.monotonic() - began)


async def _run_service(
    spec: ServiceSpec, interrupts: Interrupts, demo_view: DemoView, job: DemoJob, out: Path
) -> list[Path] | None:
    """Run *job* and return the files that were saved; None after Ctrl-C."""
    # Warnings stay in the logs; the demo shows only the error that ends it.
    service = Service(spec, lambda _source, _line: None)
    with interrupts.listening() as (stop, hurry):
        service.start()
        showing = asyncio.create_task(_show(service, spec, demo_view, job, out))
        refusal = asyncio.create_task(service.wait_until_refused())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([showing, refusal, stopping], return_when=asyncio.FIRST_COMPLETED)
            for ended in (refusal, showing):
                if ended.done():
                    ended.result()
            return showing.result() if showing.done() else None
        finally:
            for task in (showing, refusal, stopping):
                task.cancel()
            await asyncio.gather(showing, refusal, stopping, return_exceptions=True)
            await service.stop(hurry)


async def _show(
    service: Service, spec: ServiceSpec, demo_view: DemoView, demo_job: DemoJob, out: Path
) -> list[Path]:
    """Submit the job, watch it and save its files."""
    await service.wait_until_ready()
    api = ApiClient(spec.url, None)
    params = demo_job.params
    if demo_job.track is not None:
        params = {**params, "di": await asyncio.to_thread(api.upload, demo_job.track)}
    job = await asyncio.to_thread(api.submit, demo_job.pipeline, params)
    pipeline = await asyncio.to_thread(api.get, f"/pipelines/{demo_job.pipeline}")
    view = JobViewModel(job["id"])
    view.add_steps(step["name"] for step in pipeline["steps"])
    state = await _watch(api, view, demo_view, chain_labels(params.get("chains", []), pipeline["steps"]))
    if state != "succeeded":
        error = view.error or {}
        raise DemoError(f"the job {state}: {error.get('message', 'see the logs')} (logs: {spec.logs})")
    if demo_job.track is None:
        return []
    files = (await asyncio.to_thread(api.get, f"/jobs/{job['id']}/files"))["items"]
    return await asyncio.to_thread(_save, api, files, out)


async def _watch(api: ApiClient, view: JobViewModel, demo_view: DemoView, labels: dict[str, str]) -> str:
    async def watch(screen: WatchScreen) -> str:
        return await follow(
            JobWatch(
                api,
                view.job_id,
                after=0,
                patience_seconds=_RECONNECT_SECONDS,
                on_connection=screen.show_connection,
            ),
            screen,
        )

    demo_view.starting.stop()
    if not demo_view.console.is_terminal or demo_view.console.is_dumb_terminal:
        return await watch(PlainScreen(view, demo_view.console))
    with LiveScreen(view, demo_view.console, labels) as screen:
        return await watch(screen)


def chain_labels(chains: list[dict[str, Any]], steps: list[dict[str, Any]]) -> dict[str, str]:
    """Map step keys such as `render[0]` to names that show the chain instead of the index."""
    return {
        f"{step['name']}[{index}]": f"{step['name']} {chain['name']}"
        for step in steps
        if step["for_each"]
        for index, chain in enumerate(chains)
    }


def _save(api: ApiClient, files: list[dict[str, Any]], out: Path) -> list[Path]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        saved = []
        for file in files:
            # The pipeline chooses the name: keep only its last part, to write nothing outside *out*.
            target = out / Path(file["name"]).name
            if target.suffix in _SUFFIXES:
                api.download(file["id"], target)
                saved.append(target)
    except OSError as error:
        raise DemoError(f"cannot write to {out}: {(error.strerror or str(error)).lower()}") from error
    return sorted(saved, key=lambda path: (_SUFFIXES.index(path.suffix), path.name))


def _conclude(console: Console, job: DemoJob, saved: list[Path], seconds: float) -> None:
    """Print where the files are, and what to do next."""
    command = typed_command()
    facts = _file_facts(saved) if saved else [("job", Text(f"{job.pipeline} succeeded", style="bold cyan"))]
    facts.append(("next", Text(f"{command} up", style="green")))
    if job.track is None:
        facts.append(("with sound", Text(_WITH_SOUND, style="green")))
    show_facts(console, f"Done in {seconds:.1f} s, and everything is stopped", facts)


def _file_facts(saved: list[Path]) -> list[tuple[str, Text]]:
    """Return where the files are, the HTML page first."""
    page = saved[0]
    facts = [
        ("page", Text(display_path(page), style="bold cyan")),
        ("open it", Text(page.as_uri(), style="cyan")),
    ]
    for kind, suffixes in (("sound", (".flac",)), ("pictures", (".png", ".svg"))):
        paths = [path for path in saved if path.suffix in suffixes]
        facts += [
            ("" if position else kind, Text(f"{display_path(path)} ({format_size(path.stat().st_size)})"))
            for position, path in enumerate(paths)
        ]
    return facts
