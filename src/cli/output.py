"""What the commands of the client print: JSON for programs, tables for people."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from headrace.cli.text import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Output that goes to a file or a pipe must not be wrapped to the width of a screen.
_WIDE: Final = 250

json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print the API's answer as JSON.")
limit_option: Final = click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=100,
    show_default=True,
    metavar="N",
    help="Maximum number of lines.",
)


def _refuse_two_starts(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Refuse the second of --offset and --page."""
    other = "after" if parameter.name == "offset" else "offset"
    if value and context.params.get(other):
        raise click.UsageError("--offset counts from the beginning: leave it out with --page")
    return value


offset_option: Final = click.option(
    "--offset",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Number of entries to skip.",
    callback=_refuse_two_starts,
)
page_option: Final = click.option(
    "--page",
    "after",
    metavar="CURSOR",
    help="Show the next page: each page names the CURSOR of the next.",
    callback=_refuse_two_starts,
)


def open_console() -> "Console":
    """Return a console for standard output."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)


def report_connection(error: str | None) -> None:
    """Print that the connection was lost, and why, or that it is back."""
    click.echo(f"headrace: {one_line(error or 'connected again')}", err=True)


def print_json(value: Any) -> None:
    """Print *value* as indented JSON."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_page(
    page: dict[str, Any],
    build_table: Callable[[Sequence[Any]], "Table"],
    *,
    as_json: bool,
    noun: str,
    empty: str,
    has_cursors: bool = True,
) -> None:
    """Print one page of a list, and on standard error how the list goes on.

    *noun* is the plural of what it lists, *empty* is said of an empty list. *has_cursors*: whether the API's
    list has cursors.
    """
    items = page["items"]
    if as_json:
        print_json(items)
    elif items:
        open_console().print(build_table(items))
    back_to = page.get("searched_back_to")
    if "next" in page or page["total"] != len(items):
        total = f"about {page['total']}" if page.get("total_is_estimate") else page["total"]
        more = f"; more with: {options}" if (options := _options_of_the_rest(page, has_cursors)) else ""
        click.echo(f"{len(items)} of {total} {noun}{more}", err=True)
    elif not (items or as_json) and back_to is None:
        click.echo(empty, err=True)
    if back_to is not None:
        message = f"only {noun} since {back_to} were looked at; older ones with: --before {back_to}"
        click.echo(message, err=True)


def _options_of_the_rest(page: dict[str, Any], has_cursors: bool) -> str:
    """Return the options that continue a list behind *page*, nothing behind the last page."""
    if has_cursors:
        return f"--page {page['next']}" if "next" in page else ""
    return "--limit and --offset"
