"""`headrace completion`: prints the script that completes commands and options in a shell."""

from typing import Final

import click
from click.shell_completion import get_completion_class

_PROGRAM: Final = "headrace"
_VARIABLE: Final = "_HEADRACE_COMPLETE"


@click.command(
    epilog="""\b
Examples:
  headrace completion bash > ~/.local/share/bash-completion/completions/headrace
  headrace completion zsh > ~/.zfunc/_headrace
  headrace completion fish > ~/.config/fish/completions/headrace.fish
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell."""
    completer = get_completion_class(shell)
    if completer is None:
        raise click.BadParameter(f"{shell} is not known")
    script = completer(context.find_root().command, {}, _PROGRAM, _VARIABLE)
    click.echo(script.source_template % script.source_vars())


COMMANDS: Final = (completion,)
