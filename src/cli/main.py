"""The `headrace` command."""

import sys

import click

from cli import client_commands, service_commands
from domain.errors import HeadraceError

_SUMMARY = """Run multi-step jobs, and watch each one live.

\b
Start here:
  headrace up                     start everything on this machine
  headrace demo                   see a real job run, from start to end
  headrace submit ticks --watch   submit a job and watch it
"""


@click.group(
    help=_SUMMARY, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="headrace", message="headrace %(version)s")
def cli() -> None: ...


for command in (*service_commands.COMMANDS, *client_commands.COMMANDS):
    cli.add_command(command)


def main() -> None:
    """Run the command; what Headrace refuses is one line on standard error and exit status 1."""
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except HeadraceError as error:
        click.echo(f"headrace: {error}", err=True)
        sys.exit(1)
