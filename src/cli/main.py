"""The `headrace` command."""

import io
import os
import sys
from typing import Final

import click

from headrace.adapters.gc_tuning import collect_rarely
from headrace.cli import (
    account_commands,
    admin_commands,
    backup_commands,
    client_commands,
    completion_command,
    demo_command,
    doctor_command,
    file_commands,
    history_commands,
    new_command,
    pipeline_commands,
    service_commands,
    status_commands,
    up_command,
    watch_commands,
)
from headrace.cli.options import OrderedGroup
from headrace.cli.text import one_line, safe_lines
from headrace.domain.errors import HeadraceError

_SUMMARY = """Run multi-step jobs, and watch each one live.

\b
Start here:
  headrace up                     start everything on this machine
  headrace demo                   run one real job from start to end
  headrace new my-pipelines       write a project with a pipeline of your own
  headrace submit ticks --watch   submit a job and watch it
"""


_MAX_HELP: Final = 80
# In the order in which a new user needs them.
_SECTIONS: Final = (
    (
        "Start",
        (*up_command.COMMANDS, *demo_command.COMMANDS, *new_command.COMMANDS, *doctor_command.COMMANDS),
    ),
    ("Overview", status_commands.COMMANDS),
    ("Jobs", (*watch_commands.COMMANDS, *client_commands.READS, *history_commands.COMMANDS)),
    ("Changes to jobs", client_commands.CHANGES),
    ("Files", file_commands.COMMANDS),
    ("Pipelines, presets and tags", pipeline_commands.COMMANDS),
    ("Access", (*account_commands.COMMANDS, *admin_commands.COMMANDS)),
    ("Parts of a deployment", service_commands.COMMANDS),
    ("Backup", backup_commands.COMMANDS),
    ("Shell", completion_command.COMMANDS),
)


class SectionedGroup(OrderedGroup):
    """A group that lists its commands in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, commands in _SECTIONS:
            with formatter.section(title):
                lines = [(str(command.name), command.get_short_help_str(_MAX_HELP)) for command in commands]
                formatter.write_dl(lines)


@click.group(
    cls=SectionedGroup,
    help=_SUMMARY,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="headrace", message="headrace %(version)s")
def cli() -> None: ...


for _, section in _SECTIONS:
    for command in section:
        cli.add_command(command)


def main() -> None:
    """Run the command. Each error is one line on standard error.

    Exit status: 0 done · 1 refused · 2 wrong usage · 130 interrupted. `watch` and `submit --watch` have
    their own.
    """
    collect_rarely()
    _tolerate_encoding()
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(0)
    except click.ClickException as error:
        click.echo(f"headrace: {one_line(_as_line(error))}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except HeadraceError as error:
        click.echo(f"headrace: {safe_lines(str(error))}", err=True)
        sys.exit(getattr(error, "exit_code", 1))
    except BrokenPipeError:
        # The reader has closed the pipe. Buffered output must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _tolerate_encoding() -> None:
    """Replace characters that the encoding of the output does not have by question marks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _as_line(error: click.ClickException) -> str:
    """Return click's message in our form: one line that ends with the command to ask for help."""
    text = " ".join(error.format_message().split()).rstrip(".")
    text = text[:1].lower() + text[1:]
    context = getattr(error, "ctx", None)
    return f"{text}; see: {context.command_path} --help" if context is not None else text
