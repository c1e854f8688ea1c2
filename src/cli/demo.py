"""What `demo` does: a service of its own, one job through the same API that everybody uses, and its files."""

import asyncio
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.status import Status
from rich.text import Text

from headrace.cli.api_client import ApiClient
from headrace.cli.fact_panel import show_facts
from headrace.cli.interrupts import Interrupts
from headrace.cli.job_view import JobViewModel
from headrace.cli.job_watch import JobWatch
from headrace.cli.service import Service, ServiceSpec, hand_on
from headrace.cli.text import size_of
from headrace.cli.up import running_servers
from headrace.cli.up_screen import shortest
from headrace.cli.watch_run import follow
from headrace.cli.watch_screen import LiveScreen, PlainScreen, WatchScreen
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings

_ASSETS: Final = Path(__file__).parents[1] / "pipelines" / "shootout" / "assets"
_LIBRARIES: Final = ("matplotlib", "numpy", "pyloudnorm", "scipy", "soundfile")
_PATIENCE_SECONDS: Final = 30
# Nothing of the user's own settings may come in the way.
_OWN: Final = {
    "HEADRACE_ENV": "local",
    "HEADRACE_AUTH": "local",
    "HEADRACE_PIPELINES": "",
    "HEADRACE_LOG_LEVEL": "info",
    # Whoever leaves early does not wait for the job.
    "HEADRACE_GRACE_SECONDS": "1",
}
_SHOWN: Final = (".html", ".flac", ".png", ".svg")


class DemoView(Struct, frozen=True):
    """Where the demo is shown, and what moves there until the job does."""

    console: Console
    starting: Status


class DemoError(HeadraceError):
    """The demo cannot show what it is for."""


def run_demo(out: Path, data_dir: Path) -> None:
    """Show one job; its files are in *out* afterwards.

    Raises:
        HeadraceError: something does not work; everything is stopped.
        KeyboardInterrupt: the user has seen enough; everything is stopped.
    """
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        raise DemoError(f"the demo needs {', '.join(missing)}; run: pip install 'headrace[shootout]'")
    console = Console(highlight=False)
    began = time.monotonic()
    plan = ServiceSpec(
        settings=Settings(data_dir=data_dir), host="127.0.0.1", port=0, workers=1, data_dir=data_dir
    )
    interrupts = Interrupts()
    hand_on(_OWN)
    with interrupts.caught():
        console.print(Text("One guitar track through four signal chains, made equally loud", style="bold"))
        starting = console.status(Text("starting PostgreSQL, Redis, API and a worker ...", style="dim"))
        with starting, running_servers(plan) as (ready_plan, _):
            saved = asyncio.run(_run_parts(ready_plan, interrupts, DemoView(console, starting), out))
    if not saved:
        raise KeyboardInterrupt
    _conclude(console, saved, time.monotonic() - began)


async def _run_parts(plan: ServiceSpec, interrupts: Interrupts, stage: "DemoView", out: Path) -> list[Path]:
    # Warnings are in the logs; a demo is told only of what ends it.
    service = Service(plan, lambda _who, _line: None)
    with interrupts.listening() as (stop, hurry):
        service.start()
        showing = asyncio.create_task(_show(service, plan, stage, out))
        others = [asyncio.create_task(one) for one in (service.until_refused(), stop.wait())]
        try:
            await asyncio.wait([showing, *others], return_when=asyncio.FIRST_COMPLETED)
            for task in (*others[:1], showing):
                if task.done():
                    task.result()
            return showing.result() if showing.done() else []
        finally:
            for task in (showing, *others):
                task.cancel()
            await asyncio.gather(showing, *others, return_exceptions=True)
            await service.stop(hurry)


async def _show(service: Service, plan: ServiceSpec, stage: "DemoView", out: Path) -> list[Path]:
    """Submit the job, watch it, fetch its files."""
    await service.until_ready()
    api = ApiClient(plan.address, None)
    params = msgspec.json.decode((_ASSETS / "demo.json").read_bytes(), type=dict[str, Any])
    track = await asyncio.to_thread(api.upload, _ASSETS / "riff.wav")
    job = await asyncio.to_thread(api.submit, "shootout", {**params, "di": track})
    pipeline = await asyncio.to_thread(api.get, "/pipelines/shootout")
    picture = JobViewModel(job["id"])
    picture.expect(step["name"] for step in pipeline["steps"])
    state = await _watch(api, picture, stage, labels(params["chains"], pipeline["steps"]))
    if state != "succeeded":
        error = picture.error or {}
        raise DemoError(f"the job {state}: {error.get('message', 'see the logs')} (logs: {plan.logs})")
    files = (await asyncio.to_thread(api.get, f"/jobs/{job['id']}/files"))["items"]
    return await asyncio.to_thread(_save, api, files, out)


async def _watch(api: ApiClient, picture: JobViewModel, stage: "DemoView", names: dict[str, str]) -> str:
    async def watch(screen: WatchScreen) -> str:
        return await follow(
            JobWatch(api, picture.job_id, after=0, patience_seconds=_PATIENCE_SECONDS, tell=screen.tell),
            screen,
        )

    stage.starting.stop()
    if not stage.console.is_terminal or stage.console.is_dumb_terminal:
        return await watch(PlainScreen(picture, stage.console))
    with LiveScreen(picture, stage.console, names) as screen:
        return await watch(screen)


def labels(chains: list[dict[str, Any]], steps: list[dict[str, Any]]) -> dict[str, str]:
    """The names of the chains in place of the numbers of the items."""
    return {
        f"{step['name']}[{place}]": f"{step['name']} {chain['name']}"
        for step in steps
        if step["for_each"]
        for place, chain in enumerate(chains)
    }


def _save(api: ApiClient, files: list[dict[str, Any]], out: Path) -> list[Path]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        saved = []
        for file in files:
            # Names come from a pipeline: take no more of one than a name.
            target = out / Path(file["name"]).name
            if target.suffix in _SHOWN:
                api.download(file["id"], target)
                saved.append(target)
    except OSError as error:
        raise DemoError(f"cannot write to {out}: {(error.strerror or str(error)).lower()}") from error
    return sorted(saved, key=lambda path: (_SHOWN.index(path.suffix), path.name))


def _conclude(console: Console, saved: list[Path], seconds: float) -> None:
    """Where everything is, the page first."""
    page = saved[0]
    facts = [
        ("page", Text(shortest(page), style="bold cyan")),
        ("open it", Text(page.as_uri(), style="cyan")),
    ]
    for kind, suffixes in (("sound", (".flac",)), ("pictures", (".png", ".svg"))):
        paths = [path for path in saved if path.suffix in suffixes]
        facts += [
            ("" if place else kind, Text(f"{shortest(path)} ({size_of(path.stat().st_size)})"))
            for place, path in enumerate(paths)
        ]
    facts.append(("next", Text("headrace up", style="green")))
    show_facts(console, f"Done in {seconds:.1f} s, and everything is stopped", facts)
