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
def demo(out: Path, data_dir: Path | None) -> None:
    """Run one real job: a guitar track through four signal chains, made equally loud.

    Starts its own PostgreSQL, Redis, API and worker, submits the bundled pipeline `shootout`, shows the job
    live, saves its files and stops everything. Takes about ten seconds.
    """
    from headrace.cli.demo import run_demo
    from headrace.settings import read_settings

    default = read_settings().data_dir / "demo"
    run_demo(out.expanduser().absolute(), (data_dir or default).expanduser().absolute())


COMMANDS: Final = (demo,)
