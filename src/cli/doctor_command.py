"""`headrace doctor`."""

import sys
from pathlib import Path
from typing import Final

import click

from headrace.cli.options import for_client


@click.command(
    short_help="Say what is found on this machine, and what is wrong.",
    epilog="""\b
Example:
  headrace doctor

Exit status: 0 when nothing is wrong, 1 otherwise.
""",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to look at. [default: HEADRACE_DATA_DIR or .headrace]",
)
@for_client
def doctor(data_dir: Path | None, url: str, token: str | None) -> None:
    """Say what Headrace finds on this machine, and what is wrong with it. Changes nothing."""
    from rich.console import Console

    from headrace.cli.doctor import examine
    from headrace.cli.doctor_screen import show

    findings = examine(data_dir, url, token)
    show(Console(highlight=False), findings)
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


COMMANDS: Final = (doctor,)
