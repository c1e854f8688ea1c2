"""Options before a command of a group are passed to it, or refused: none is ignored."""

from typing import Any

import click
import pytest
from click.testing import CliRunner

from headrace.cli import api_client
from headrace.cli.main import cli

PRESET = "01a1fcda-1222-71e3-b3dd-702451ba443d"
URL = "http://192.0.2.1:9"


class Recorder:
    """Replaces `ApiClient`. It records for which service and with which token it was made."""

    made: list[tuple[str, str | None]]

    def __init__(self, url: str, token: str | None) -> None:
        Recorder.made.append((url, token))

    def delete(self, path: str, **params: Any) -> None: ...

    def post(self, path: str, body: Any = None, key: str | None = None) -> dict[str, Any]:
        return {"id": PRESET, "path": path, "key": key or "text", "body": body}


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    monkeypatch.setattr(api_client, "ApiClient", Recorder)
    monkeypatch.setenv("HEADRACE_URL", "http://192.0.2.2:9")
    Recorder.made = []
    return Recorder.made


def call(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments, standalone_mode=False, catch_exceptions=False)
    if isinstance(result.exception, Exception):
        raise result.exception
    return result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("presets", "--url", URL, "delete", PRESET),
        ("presets", "delete", "--url", URL, PRESET),
        ("presets", "--url", "http://192.0.2.3:9", "delete", PRESET, "--url", URL),
        ("tags", "--url", URL, "create", "nightly"),
        ("tags", "--url", URL, "rename", PRESET, "nightly"),
        ("keys", "--url", URL, "create", "laptop", "--scope", "jobs:read"),
    ],
)
def test_the_url_may_stand_before_the_command(
    arguments: tuple[str, ...], made: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorder, "patch", Recorder.post, raising=False)

    call(*arguments)

    assert made == [(URL, None)]


def test_every_shared_option_is_passed_on(made: list[tuple[str, str | None]]) -> None:
    output = call("tags", "--token", "secret", "--json", "create", "nightly")

    assert made == [("http://192.0.2.2:9", "secret")]
    assert '"name": "nightly"' in output


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("presets", "--limit", "3", "delete", PRESET), "--limit"),
        (("presets", "--tag", "nightly", "save", "title", "ticks"), "--tag"),
        (("presets", "--json", "delete", PRESET), "--json"),
        (("tags", "--offset", "3", "delete", PRESET), "--offset"),
        (("keys", "--limit", "3", "delete", PRESET), "--limit"),
    ],
)
def test_an_option_of_the_list_is_refused_before_a_command(
    arguments: tuple[str, ...], option: str, made: list[tuple[str, str | None]]
) -> None:
    with pytest.raises(click.UsageError, match=f"^{option} before [a-z]+ is an option of the list; write"):
        call(*arguments)

    assert made == []


def test_a_default_is_not_passed_on(made: list[tuple[str, str | None]]) -> None:
    call("presets", "delete", PRESET)

    assert made == [("http://192.0.2.2:9", None)]
