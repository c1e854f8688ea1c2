"""Lists of the command line go on behind their first page."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from headrace.cli import api_client
from headrace.cli.errors import RefusedError
from headrace.cli.main import cli

CURSOR = "WyJhIiwxXQ"
LISTS = ("jobs", "files", "presets", "tags", "keys")


class Lists:
    """Replaces `ApiClient`: each of its lists is the same page."""

    page: dict[str, Any]
    sent: list[dict[str, Any]]

    def __init__(self, url: str, token: str | None) -> None: ...

    def get(self, _path: str, **params: Any) -> dict[str, Any]:
        Lists.sent.append(params)
        return Lists.page


@pytest.fixture(autouse=True)
def lists(monkeypatch: pytest.MonkeyPatch) -> type[Lists]:
    monkeypatch.setattr(api_client, "ApiClient", Lists)
    Lists.page, Lists.sent = {"items": [], "total": 3, "limit": 100, "offset": 0}, []
    return Lists


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_continues_behind_a_cursor(name: str, lists: type[Lists]) -> None:
    call(name, "--page", CURSOR)
    call(name)

    assert [params["after"] for params in lists.sent] == [CURSOR, None]


@pytest.mark.parametrize("name", LISTS)
def test_a_page_names_the_next_one_also_beside_json(name: str, lists: type[Lists]) -> None:
    lists.page["next"] = CURSOR

    result = call(name, "--json")

    assert json.loads(result.stdout) == []
    assert result.stderr == f"0 of 3 {name}; more with: --page {CURSOR}\n"
    assert call(name).stderr == result.stderr


def test_the_last_page_names_no_other(lists: type[Lists]) -> None:
    assert call("tags", "--page", CURSOR).stderr == "0 of 3 tags\n"


def test_a_page_that_ends_where_an_estimated_total_does_names_the_next_one(lists: type[Lists]) -> None:
    lists.page |= {"total": 0, "total_is_estimate": True, "next": CURSOR}

    assert call("tags").stderr == f"0 of about 0 tags; more with: --page {CURSOR}\n"


def test_an_empty_list_says_so_only_to_people(lists: type[Lists]) -> None:
    lists.page["total"] = 0

    assert call("tags").stderr.startswith("no tags; ")
    assert call("tags", "--json").stderr == ""


def test_pipelines_have_no_cursors() -> None:
    assert call("pipelines").stderr == "0 of 3 pipelines; more with: --limit and --offset\n"


def test_follow_takes_no_page() -> None:
    assert "--follow takes" in call("jobs", "--follow", "--page", CURSOR).stderr


@pytest.mark.parametrize("starts", [("--page", CURSOR, "--offset", "3"), ("--offset", "3", "--page", CURSOR)])
def test_a_page_begins_at_a_cursor_or_an_offset(starts: tuple[str, ...], lists: type[Lists]) -> None:
    assert "--offset counts from the beginning: leave it out with --page" in call("tags", *starts).stderr
    assert lists.sent == []


def test_a_large_offset_is_answered_with_the_option() -> None:
    refusal = RefusedError("offset is at most 10000", 422, "offset_too_large")

    assert str(refusal) == "offset is at most 10000; continue with --page, which a list names"
