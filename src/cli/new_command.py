"""`headrace new`: writes a project to begin with."""

from pathlib import Path
from typing import Final

import click

_NEXT_STEPS: Final = """\
{name} is ready: a pipeline, its test, and an image for its workers.

  cd {name}
  pytest                                              test the pipeline, without servers
  HEADRACE_PIPELINES={package}.pipelines headrace up --reload

In a second terminal, submit a job and watch it:

  headrace submit {package} --params '{{"texts": ["the water turns the wheel"]}}' --watch

Your steps are in {name}/{package}/pipelines.py, and {name}/README.md says how to deploy them."""


@click.command(
    short_help="Write a project to begin with.",
    epilog="\b\nExample:\n  headrace new my-pipelines",
)
@click.argument("name")
def new(name: str) -> None:
    """Write a project into the new folder NAME.

    It is a package with a pipeline, its test, and an image for workers. The pipeline counts the words of
    texts. Replace its steps by your own.
    """
    from headrace.cli.new_project import write_project

    package = write_project(name, Path.cwd())
    click.echo(_NEXT_STEPS.format(name=name, package=package))


COMMANDS: Final = (new,)
