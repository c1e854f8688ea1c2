"""`headrace demo`: runs one real job from start to end and stops everything afterwards."""

from pathlib import Path
from typing import Final

import click


@click.command(
    short_help="Run one real job from start to end.",
    epilog="""\b
Examples:
  headrace demo
  headrace demo --out ~/Desktop/shootout
  headrace demo --small
""",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="headrace-demo",
    show_default=True,
    help="Folder for the results.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the demo's own databases. [default: .headrace/demo]",
)
@click.option(
    "--small", is_flag=True, help="Run a job of the pipeline `ticks`, which needs no further library."
)
def demo(out: Path, data_dir: Path | None, small: bool) -> None:
    """Run one real job: a guitar track through four signal chains, made equally loud.

    Starts its own PostgreSQL, Redis, API and worker, submits the bundled pipeline `shootout`, shows the job
    live, saves its files and stops everything. It needs the libraries of the extra `shootout`.
    """
    from headrace.cli.demo import run_demo
    from headrace.settings import read_settings

    default = read_settings().data_dir / "demo"
    folder = (data_dir or default).expanduser().absolute()
    run_demo(out.expanduser().absolute(), folder, is_small=small)


COMMANDS: Final = (demo,)
