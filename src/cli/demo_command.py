"""`headrace demo`: a real job from start to end, and nothing left running."""

from pathlib import Path
from typing import Final

import click


@click.command(
    short_help="See a real job run, from start to end.",
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
    help="Where the results go.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the demo's own databases are kept. [default: .headrace/demo]",
)
def demo(out: Path, data_dir: Path | None) -> None:
    """See a real job run: one guitar track through four signal chains, made equally loud.

    Starts PostgreSQL, Redis, API and a worker of its own, submits the bundled `shootout` pipeline, shows it
    live, saves what it made, and stops everything. Takes some ten seconds.
    """
    from headrace.cli.demo import run_demo
    from headrace.settings import read_settings

    default = read_settings().data_dir / "demo"
    run_demo(out.expanduser().absolute(), (data_dir or default).expanduser().absolute())


COMMANDS: Final = (demo,)
