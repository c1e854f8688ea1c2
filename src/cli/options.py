"""Options and argument types that the commands of the client share."""

import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click
import msgspec
from click.core import ParameterSource

from headrace.cli.errors import DEFAULT_URL, NO_VERDICT, NoVerdictError
from headrace.domain.errors import HeadraceError

Function = Callable[..., Any]

_PAUSE: Final = re.compile(r"(?P<count>[0-9]{1,9})(?P<unit>[smhd])")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_MAX_PAUSE_SECONDS: Final = 100 * 365 * 86_400

EXIT_STATUSES: Final = """\b
Exit status:
  0  the job succeeded
  1  the job failed
  2  the job was cancelled
  3  no verdict: no service, no such job, service away for too long, wrong usage
  130  stopped with Ctrl-C; the job continues

\b
A misspelt command, as in `headrace wacth`, ends with 2 like every wrong usage of
other commands, and prints nothing on standard output. With --json the last line
of a job is its frame {"type":"end"}: without it, there is no verdict."""


def client_options(command: Function) -> Function:
    """Add the options for the URL of the service and the caller's token."""
    command = click.option(
        "--token", envvar="HEADRACE_TOKEN", metavar="TOKEN", help="Your token. [env: HEADRACE_TOKEN]"
    )(command)
    return click.option(
        "--url",
        envvar="HEADRACE_URL",
        default=DEFAULT_URL,
        show_default=True,
        metavar="URL",
        help="URL of the service. [env: HEADRACE_URL]",
    )(command)


def job_id(text: str) -> str:
    """Parse the id of a job."""
    try:
        return str(UUID(text))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not the id of a job; list jobs with: headrace jobs") from error


def object_id(text: str) -> str:
    """Parse the id of a file, a preset, a tag or a key."""
    try:
        return str(UUID(text))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not an id; ids are UUIDs, as lists show them") from error


def moment(text: str) -> datetime:
    """Parse a time: ISO 8601, local without an offset, or a pause from now such as 90s, 10m, 2h or 1d."""
    return _parse_moment(text, sign=1)


def past_moment(text: str) -> datetime:
    """Parse a time as `moment` does; a pause counts back from now."""
    return _parse_moment(text, sign=-1)


def _parse_moment(text: str, sign: int) -> datetime:
    if match := _PAUSE.fullmatch(text):
        seconds = int(match["count"]) * _UNIT_SECONDS[match["unit"]]
        return datetime.now(UTC) + sign * timedelta(seconds=min(seconds, _MAX_PAUSE_SECONDS))
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{text!r} is not a time, like 2027-01-31T08:00 or 10m") from error


def submission_key(text: str) -> str:
    """Parse an idempotency key."""
    from headrace_client.address import is_header_text

    if not text or not is_header_text(text):
        raise click.BadParameter("a key must be printable ASCII without spaces around it")
    return text


def job_params(text: str) -> dict[str, Any]:
    """Parse the parameters of a job: a JSON object, `@FILE` with one, or `@-` for standard input."""
    try:
        return read_params(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def read_params(text: str) -> dict[str, Any]:
    """Return the parameters that *text* holds, or that the file named in it holds.

    Raises:
        ValueError: the text cannot be read, or is not a JSON object; the message says so.
    """
    source = "it"
    if text.startswith("@"):
        source = text[1:]
        try:
            text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"cannot read {source}: {(error.strerror or str(error)).lower()}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{source} is not UTF-8 text") from error
    try:
        params = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        raise ValueError(f"{source} is not JSON: {reason[:1].lower()}{reason[1:]}") from error
    if not isinstance(params, dict):
        raise ValueError(f'{source} is not a JSON object, like {{"count": 3}}')  # noqa: TRY004
    return params


def term_options(command: Function) -> Function:
    """Add the options that say how a job runs. They are left out of the request if they are not given."""
    for option in reversed(_TERMS):
        command = option(command)
    return command


_TERMS: Final = (
    click.option("--queue", metavar="NAME", help="Queue of the job. [default: default]"),
    click.option("--priority", type=click.IntRange(0, 9), metavar="0-9", help="9 starts first. [default: 5]"),
    click.option(
        "--run-at",
        type=moment,
        metavar="TIME",
        help="Start no sooner: 2027-01-31T08:00, or 10m from now.",
    ),
    click.option("--tag", "tags", multiple=True, metavar="TAG", help="Mark the job; may be repeated."),
    click.option(
        "--timeout",
        "timeout_seconds",
        type=click.FloatRange(0, 31_536_000, min_open=True),
        metavar="SECONDS",
        help="Fail the job after this running time.",
    ),
    click.option(
        "--max-attempts", type=click.IntRange(1, 1000), metavar="N", help="How often each step may be tried."
    ),
    click.option("--meta", type=job_params, metavar="JSON|@FILE", help="Your own data about the job."),
)


data_dir_option: Final = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data folder of `headrace up`. [default: HEADRACE_DATA_DIR or .headrace]",
)
"""Of commands that work on the database and the files themselves."""


class OrderedGroup(click.Group):
    """A group that lists its commands in the order in which a user needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)


class ListingGroup(OrderedGroup):
    """A group that lists objects when it is called without a command.

    Options before a command belong to that command as well, if it has them; a filter of the list is refused.
    """

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if command is None or ctx.resilient_parsing:
            return name, command, rest
        return name, command, [*self._inherited(ctx, command), *rest]

    def _inherited(self, ctx: click.Context, command: click.Command) -> Iterator[str]:
        """Yield the options that were given before *command*, as arguments for it."""
        own = {(option.name, option.opts[0]) for option in command.params if isinstance(option, click.Option)}
        for option in self.params:
            if ctx.get_parameter_source(str(option.name)) is not ParameterSource.COMMANDLINE:
                continue
            if (option.name, option.opts[0]) not in own:
                raise click.UsageError(
                    f"{option.opts[0]} before {command.name} is an option of the list; write the options of"
                    f" {command.name} behind it",
                    ctx,
                )
            yield option.opts[0]
            if not (isinstance(option, click.Option) and option.is_flag):
                yield str(ctx.params[str(option.name)])


class NoVerdictUsageError(click.UsageError):
    """Wrong usage of `watch`."""

    exit_code = NO_VERDICT


class VerdictCommand(click.Command):
    """A command whose exit status is the verdict of the job. 1 and 2 are verdicts, so every error is 3."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        has_verdict = self.name == "watch" or "--watch" in args
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            is_misspelt = isinstance(error, click.NoSuchOption) and "--watch" in (error.possibilities or ())
            if has_verdict or is_misspelt:
                raise NoVerdictUsageError(error.format_message(), error.ctx) from error
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HeadraceError as error:
            if self.name == "watch" or ctx.params.get("watch_it"):
                raise NoVerdictError(error) from error
            raise
