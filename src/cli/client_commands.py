"""A client of the REST API."""

from typing import Final

import click

COMMANDS: Final[tuple[click.Command, ...]] = ()
