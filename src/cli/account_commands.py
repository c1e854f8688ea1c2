"""Commands for the caller's account, its API keys, and tokens for one job, over the REST API."""

from datetime import datetime
from typing import Any, Final

import click

from headrace.cli.options import ListingGroup, client_options, job_id, moment, object_id
from headrace.cli.output import json_option, limit_option, offset_option, page_option, print_json, print_page
from headrace.cli.text import one_line
from headrace.domain.accounts.scopes import GRANTABLE


@click.command(short_help="Show who you are and which rights you have.", epilog="\b\nExample:\n  headrace me")
@json_option
@client_options
def me(as_json: bool, url: str, token: str | None) -> None:
    """Show who you are for the service, your rights, and how much of your quotas is used."""
    from headrace.cli.api_client import ApiClient

    caller = ApiClient(url, token).get("/me")
    if as_json:
        print_json(caller)
        return
    click.echo(f"{one_line(caller['username'])} ({caller['auth']}{', admin' if caller['is_admin'] else ''})")
    click.echo(f"rights: {' '.join(caller['scopes'])}")
    for name, quota in caller["quotas"].items():
        click.echo(f"quota {name}: {quota['used']} of {quota['limit']}")


@click.group(
    cls=ListingGroup,
    invoke_without_command=True,
    epilog="""\b
Examples:
  headrace keys
  headrace keys create laptop --scope jobs:read --scope jobs:write --expires 90d
""",
)
@limit_option
@offset_option
@page_option
@json_option
@client_options
@click.pass_context
def keys(context: click.Context, /, as_json: bool, url: str, token: str | None, **page: Any) -> None:
    """List your API keys; or create, delete one. A caller with an API key has no access to keys."""
    from headrace.cli.api_client import ApiClient
    from headrace.cli.resource_tables import keys_table

    if context.invoked_subcommand is not None:
        return
    print_page(
        ApiClient(url, token).get("/api-keys", **page),
        keys_table,
        as_json=as_json,
        noun="keys",
        empty="no keys; create one with: headrace keys create NAME --scope jobs:read",
    )


@keys.command(
    "create", epilog="\b\nExample:\n  headrace keys create laptop --scope jobs:read --scope files:read"
)
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(GRANTABLE),
    multiple=True,
    required=True,
    help="A right of the key; may be repeated.",
)
@click.option("--expires", type=moment, metavar="TIME", help="When it ends: 2027-01-31, or 90d from now.")
@json_option
@client_options
def create_key(
    name: str, scopes: tuple[str, ...], expires: datetime | None, as_json: bool, url: str, token: str | None
) -> None:
    """Create an API key and print its text, which is shown only once."""
    from headrace.cli.api_client import ApiClient

    made = ApiClient(url, token).post(
        "/api-keys", {"name": name, "scopes": list(scopes), "expires_at": expires}
    )
    print_json(made) if as_json else click.echo(made["key"])


@keys.command("delete", epilog="\b\nExample:\n  headrace keys delete KEY")
@click.argument("key", type=object_id)
@client_options
def delete_key(key: str, url: str, token: str | None) -> None:
    """Revoke the API key with the id KEY. It is refused everywhere within a second."""
    from headrace.cli.api_client import ApiClient

    ApiClient(url, token).delete(f"/api-keys/{key}")
    click.echo(f"revoked {key}")


@click.command(epilog="\b\nExample:\n  headrace token 01a1fcda-1222-71e3-b3dd-702451ba443d --expires-in 600")
@click.argument("job", type=job_id)
@click.option("--cancel", "may_cancel", is_flag=True, help="Let the token cancel the job as well.")
@click.option(
    "--expires-in",
    type=click.IntRange(1, 86_400),
    default=3_600,
    show_default=True,
    metavar="SECONDS",
    help="How long the token is valid.",
)
@click.option("--revoke", is_flag=True, help="Revoke all tokens of the job instead.")
@json_option
@client_options
def token(
    job: str, may_cancel: bool, expires_in: int, revoke: bool, as_json: bool, url: str, token: str | None
) -> None:
    """Print a token with which a web page watches one job."""
    from headrace.cli.api_client import ApiClient

    api = ApiClient(url, token)
    if revoke:
        api.delete(f"/jobs/{job}/tokens")
        click.echo(f"revoked the tokens of {job}")
        return
    body = {"scope": "cancel" if may_cancel else "read", "expires_in": expires_in}
    made = api.post(f"/jobs/{job}/tokens", body)
    print_json(made) if as_json else click.echo(made["token"])


COMMANDS: Final = (me, keys, token)
