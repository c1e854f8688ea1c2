"""`headrace doctor`: reports what works on this machine and what does not."""

import sys
from pathlib import Path
from typing import Final

import click

from headrace.cli.options import client_options


@click.command(
    short_help="Check this machine and report what is wrong.",
    epilog="""\b
Examples:
  headrace doctor
  headrace doctor --files

Exit status: 0 when nothing is wrong, 1 otherwise.
""",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data folder to check. [default: HEADRACE_DATA_DIR or .headrace]",
)
@click.option(
    "--files", "compares_files", is_flag=True, help="Compare the rows of files with their bytes as well."
)
@client_options
def doctor(data_dir: Path | None, compares_files: bool, url: str, token: str | None) -> None:
    """Check Python, settings, servers, pipelines and the service, and report what is wrong.

    Changes nothing.
    """
    from rich.console import Console

    from headrace.cli.doctor import run_checks
    from headrace.cli.doctor_screen import show

    findings = run_checks(data_dir, url, token, compares_files=compares_files)
    show(Console(highlight=False), findings)
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


COMMANDS: Final = (doctor,)
