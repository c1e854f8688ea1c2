"""Wrong usage of `watch` and of `submit --watch` has a status that is no verdict of a job."""

import click
import pytest

from headrace.cli.main import cli
from headrace.cli.options import EXIT_STATUSES
from headrace.cli.watch_run import VERDICTS

JOB = "01a1fcda-1222-71e3-b3dd-702451ba443d"


def status(*arguments: str) -> int:
    with pytest.raises(click.UsageError) as refused:
        cli.main(list(arguments), standalone_mode=False)
    return refused.value.exit_code


@pytest.mark.parametrize(
    "arguments",
    [
        ("watch",),
        ("watch", "fred"),
        ("watch", JOB, JOB),
        ("watch", JOB, "--jsn"),
        ("watch", JOB, "--after", "-1"),
        ("submit", "--watch"),
        ("submit", "ticks", "--watch", "--params", "{"),
        ("submit", "ticks", "--wacth"),
    ],
)
def test_wrong_usage_of_a_watch_is_no_verdict(arguments: tuple[str, ...]) -> None:
    assert status(*arguments) == 3
    assert 3 not in VERDICTS.values()


@pytest.mark.parametrize(
    "arguments", [("wacth", JOB), ("submit", "ticks", "--params", "{"), ("show", "fred")]
)
def test_all_other_wrong_usage_has_the_usual_status(arguments: tuple[str, ...]) -> None:
    assert status(*arguments) == 2


def test_the_help_of_watch_names_every_status_and_how_to_tell_a_misspelt_command() -> None:
    help_text = cli.commands["watch"].get_help(click.Context(cli.commands["watch"]))

    for line in EXIT_STATUSES.replace("\b\n", "").split("\n"):
        assert line.strip() in help_text
    assert "2  the job was cancelled" in EXIT_STATUSES
    assert "A misspelt command" in EXIT_STATUSES
