"""`headrace admin`: commands for those who operate the service's machine. They work on the database."""

from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from headrace.cli.options import data_dir_option
from headrace.domain.accounts.scopes import GRANTABLE


@click.group(
    short_help="Operate the service on its own machine.",
    epilog="\b\nExample:\n  headrace admin create-key first --scope admin",
)
def admin() -> None:
    """Operate the service on its own machine, directly on the database.

    Needs HEADRACE_DATABASE_URL, or a running `headrace up` with the same data folder.
    """


def _key_name(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    """Accept the names that the API accepts."""
    if not 1 <= len(text) <= 100 or not text.isprintable():
        raise click.BadParameter("a name has 1 to 100 printable characters")
    return text


@admin.command(
    "create-key",
    short_help="Create an API key, also before anybody can sign in.",
    epilog="""\b
Examples:
  headrace admin create-key first --scope admin
  headrace admin create-key nightly --scope jobs:read --scope jobs:write --user ci --days 90
""",
)
@click.argument("name", callback=_key_name)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(GRANTABLE),
    help="A right of the key; may be repeated.",
)
@click.option(
    "--user",
    default="admin",
    show_default=True,
    callback=_key_name,
    help="The user who owns the key; created if missing. The scope `admin` makes the user an admin.",
)
@click.option("--days", type=click.IntRange(1, 36_500), help="Days until the key expires. [default: never]")
@data_dir_option
def create_key(
    name: str, scopes: tuple[str, ...], user: str, days: int | None, data_dir: Path | None
) -> None:
    """Create an API key called NAME, and print it.

    The key is shown once, because the database holds only its digest. Clients send it as a bearer token, and
    `headrace` reads it from HEADRACE_TOKEN.
    """
    from headrace.cli.admin import make_key
    from headrace.settings import read_settings

    lifetime = None if days is None else timedelta(days=days)
    text = make_key(read_settings(), data_dir, user=user, name=name, scopes=scopes, lifetime=lifetime)
    click.echo(text)
    click.echo(f"the key belongs to the user {user}, and is not shown again", err=True)


COMMANDS: Final = (admin,)
