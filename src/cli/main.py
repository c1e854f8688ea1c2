"""The `headrace` command."""

import io
import os
import sys

import click

from headrace.cli import (
    client_commands,
    demo_command,
    doctor_command,
    service_commands,
    up_command,
    watch_commands,
)
from headrace.domain.errors import HeadraceError

_SUMMARY = """Run multi-step jobs, and watch each one live.

\b
Start here:
  headrace up                     start everything on this machine
  headrace demo                   see a real job run, from start to end
  headrace submit ticks --watch   submit a job and watch it
"""


class InOrder(click.Group):
    """Lists its commands in the order in which one meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)


@click.group(
    cls=InOrder,
    help=_SUMMARY,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="headrace", message="headrace %(version)s")
def cli() -> None: ...


for module in (
    up_command,
    demo_command,
    doctor_command,
    watch_commands,
    client_commands,
    service_commands,
):
    for command in module.COMMANDS:
        cli.add_command(command)


def main() -> None:
    """Run the command; whatever is refused is one line on standard error.

    Exit status: 0 done · 1 refused · 2 wrongly called · 130 interrupted; `watch` and `submit --watch` have
    their own.
    """
    _suit_output()
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(0)
    except click.ClickException as error:
        click.echo(f"headrace: {_sentence(error)}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except HeadraceError as error:
        click.echo(f"headrace: {error}", err=True)
        sys.exit(getattr(error, "exit_code", 1))
    except BrokenPipeError:
        # Whoever read our output has enough; what is still buffered must not fail again at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _suit_output() -> None:
    """Draw what the output can show: a sign that its encoding does not know becomes a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _sentence(error: click.ClickException) -> str:
    """What click says, in our form."""
    text = " ".join(error.format_message().split()).rstrip(".")
    text = text[:1].lower() + text[1:]
    context = getattr(error, "ctx", None)
    return f"{text}; see: {context.command_path} --help" if context is not None else text
