"""`headrace new`: which names it takes, and what it writes."""

import importlib.util
import os
import tomllib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from headrace.cli.main import cli
from headrace.cli.new_project import (
    TEMPLATE,
    ProjectNameError,
    ProjectNotWrittenError,
    package_of,
    write_project,
)

FILES = {
    ".gitignore",
    "Containerfile",
    "README.md",
    "compose.override.yaml",
    "my_pipes/__init__.py",
    "my_pipes/pipelines.py",
    "pyproject.toml",
    "tests/test_pipelines.py",
}


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_it_writes_a_project_without_placeholders(tmp_path: Path) -> None:
    assert write_project("my-pipes", tmp_path) == "my_pipes"

    folder = tmp_path / "my-pipes"
    assert files_in(folder) == FILES
    texts = {name: (folder / name).read_text() for name in FILES}
    assert [name for name, text in texts.items() if "@" in text and name not in _WITH_DECORATORS] == []
    assert not any(f"@{name}@" in text for text in texts.values() for name in ("name", "package", "version"))
    project = tomllib.loads(texts["pyproject.toml"])
    assert project["project"]["name"] == "my-pipes"
    assert project["tool"]["pytest"]["ini_options"]["headrace_pipelines"] == ["my_pipes.pipelines"]
    override = yaml.safe_load(texts["compose.override.yaml"])
    assert override["services"]["worker"]["image"] == "my-pipes:latest"
    assert "FROM ${HEADRACE_IMAGE}" in texts["Containerfile"]
    assert "HEADRACE_PIPELINES=my_pipes.pipelines" in texts["Containerfile"]


_WITH_DECORATORS = {"my_pipes/pipelines.py", "tests/test_pipelines.py"}


def test_the_override_names_a_service_of_the_compose_file(tmp_path: Path) -> None:
    write_project("my-pipes", tmp_path)
    override = yaml.safe_load((tmp_path / "my-pipes" / "compose.override.yaml").read_text())
    compose = yaml.safe_load((Path(__file__).parents[3] / "compose.yaml").read_text())
    assert override["services"].keys() <= compose["services"].keys()


@pytest.mark.parametrize(
    ("name", "package"),
    [("a", "a"), ("my-pipes", "my_pipes"), ("my_pipes2", "my_pipes2"), ("x" * 64, "x" * 64)],
)
def test_the_package_has_the_name_of_the_project(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests leave modules with such names.
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert package_of(name) == package


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "such as my-pipelines"),
        ("My App", "such as my-app"),
        ("../up", "such as up"),
        ("/etc", "such as etc"),
        ("a/b", "such as a-b"),
        (".", "such as my-pipelines"),
        ("-x", "such as x"),
        ("9lives", "such as my-pipelines"),
        ("a--b", "such as a-b"),
        ("é", "such as my-pipelines"),
        ("a\n", "such as a"),
        ("x" * 65, "such as " + "x" * 64),
        ("class", "'class' is a keyword of Python"),
        ("json", "the name 'json' is taken"),
        ("numpy", "the name 'numpy' is taken"),
        ("headrace", "the name 'headrace' is taken"),
        ("tests", "the name 'tests' is taken"),
    ],
)
def test_other_names_are_refused_with_one_that_works(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ProjectNameError, match=reason):
        write_project(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_what_exists_stays_as_it_is(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to("nowhere")
    with pytest.raises(ProjectNotWrittenError, match="mine exists already"):
        write_project("mine", tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    assert not path.is_dir() or not list(path.iterdir())


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(ProjectNotWrittenError, match=r"^cannot write .*: no such file or directory$"):
        write_project("mine", tmp_path / "missing")


def test_nothing_is_left_of_a_project_that_cannot_be_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path, *_: object, **__: object) -> int:
        raise OSError(28, os.strerror(28), str(self))

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(ProjectNotWrittenError, match="no space left on device"):
        write_project("mine", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_the_next_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["new", "my-pipes"], catch_exceptions=False)

    assert result.exit_code == 0
    assert "cd my-pipes\n" in result.output
    assert "HEADRACE_PIPELINES=my_pipes.pipelines headrace up --reload\n" in result.output
    assert (
        """headrace submit my_pipes --params '{"texts": ["the water turns the wheel"]}' --watch"""
        in result.output
    )
    assert max(map(len, result.output.splitlines())) <= 100


def test_every_file_of_the_template_is_one() -> None:
    stray = [path for path in TEMPLATE.rglob("*") if path.is_file() and path.suffix != ".template"]
    assert stray == []
