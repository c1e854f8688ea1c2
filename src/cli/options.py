"""Options and argument types that the commands of the client share."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click
import msgspec

from headrace.cli.errors import DEFAULT_URL, NO_VERDICT, NoVerdictError
from headrace.domain.errors import HeadraceError

Function = Callable[..., Any]

EXIT_STATUSES: Final = """\b
Exit status:
  0  the job succeeded
  1  the job failed
  2  the job was cancelled
  3  no verdict: no service, no such job, away for too long, wrong usage
  130  left with Ctrl-C; the job goes on"""


def for_client(command: Function) -> Function:
    """Add where the service is, and who asks."""
    command = click.option(
        "--token", envvar="HEADRACE_TOKEN", metavar="TOKEN", help="Who asks. [env: HEADRACE_TOKEN]"
    )(command)
    return click.option(
        "--url",
        envvar="HEADRACE_URL",
        default=DEFAULT_URL,
        show_default=True,
        metavar="URL",
        help="Where the service is. [env: HEADRACE_URL]",
    )(command)


def job_id(text: str) -> str:
    """The type of an argument that is the id of a job."""
    try:
        return str(UUID(text))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not the id of a job; list them with: headrace jobs") from error


def submission_key(text: str) -> str:
    """The type of an option that names a submission."""
    from headrace_client.address import is_header_text

    if not text or not is_header_text(text):
        raise click.BadParameter("a key is printable ASCII, without blanks around it")
    return text


def job_params(text: str) -> dict[str, Any]:
    """The type of an option that gives a job's parameters: a JSON object, `@FILE` with one, or `@-`."""
    try:
        return read_params(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def read_params(text: str) -> dict[str, Any]:
    """The parameters that *text* gives or names.

    Raises:
        ValueError: it cannot be read, or is not a JSON object; with a sentence that says so.
    """
    where = "it"
    if text.startswith("@"):
        where = text[1:]
        try:
            text = sys.stdin.read() if where == "-" else Path(where).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"cannot read {where}: {(error.strerror or str(error)).lower()}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{where} is not text in UTF-8") from error
    try:
        params = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        said = str(error)
        raise ValueError(f"{where} is not JSON: {said[:1].lower()}{said[1:]}") from error
    if not isinstance(params, dict):
        raise ValueError(f'{where} is not a JSON object, like {{"count": 3}}')  # noqa: TRY004
    return params


class NoVerdictUsageError(click.UsageError):
    """A wrong call of `watch`."""

    exit_code = NO_VERDICT


class VerdictCommand(click.Command):
    """A command whose exit status is the job's verdict: 1 and 2 are taken, so every error is 3."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asked = self.name == "watch" or "--watch" in args
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if asked:
                raise NoVerdictUsageError(error.format_message(), error.ctx) from error
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HeadraceError as error:
            if self.name == "watch" or ctx.params.get("watch_it"):
                raise NoVerdictError(error) from error
            raise
