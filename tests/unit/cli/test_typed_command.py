"""Hints name a command that works in the shell that shows them."""

import sys
from pathlib import Path

import pytest

from headrace.cli.typed_command import typed_command


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    command = tmp_path / "project" / ".venv" / "bin" / "headrace"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command.with_name("python")))
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("PATH", str(tmp_path))
    return command


@pytest.mark.usefixtures("installed")
def test_a_command_that_is_not_on_the_path_is_named_by_its_path() -> None:
    assert typed_command() == ".venv/bin/headrace"


def test_from_another_folder_the_path_is_absolute(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "else where").mkdir()
    monkeypatch.chdir(tmp_path / "else where")

    assert typed_command() == str(installed)


def test_a_command_on_the_path_has_its_name(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(installed.parent))

    assert typed_command() == "headrace"


def test_another_installation_on_the_path_is_not_meant(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other" / "headrace"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(other.parent))

    assert typed_command() == ".venv/bin/headrace"
    installed.unlink()
    assert typed_command() == "headrace"
