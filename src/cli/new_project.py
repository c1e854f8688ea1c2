"""Writes the project of `headrace new`: a package with a pipeline, its test, and an image."""

import importlib.util
import keyword
import os
import re
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

from headrace.domain.errors import HeadraceError

TEMPLATE: Final = Path(__file__).parent / "project_template"

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*", re.ASCII)
_MAX_NAME: Final = 64
_SUFFIX: Final = ".template"
_TESTS: Final = "tests"
_PACKAGE: Final = "package"


class ProjectNameError(HeadraceError):
    """A project cannot have that name."""

    exit_code: Final = 2


class ProjectNotWrittenError(HeadraceError):
    """The folder of the project exists, or cannot be written."""


def package_of(name: str) -> str:
    """Return the name of the package of a project.

    Raises:
        ProjectNameError: the name is malformed, or that of something that Python imports already.
    """
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        plain = "-".join(re.findall(r"[a-z0-9]+", name.lower()))[:_MAX_NAME].strip("-")
        example = plain if _NAME.fullmatch(plain) else "my-pipelines"
        raise ProjectNameError(
            f"{name!r} is not a name for a project: it has lower-case letters, digits, - and _, and at most"
            f" {_MAX_NAME} of them, such as {example}"
        )
    package = name.replace("-", "_")
    if keyword.iskeyword(package):
        raise ProjectNameError(f"{package!r} is a keyword of Python, which cannot be the name of a package")
    if package == _TESTS or package in sys.stdlib_module_names or importlib.util.find_spec(package):
        raise ProjectNameError(f"the name {package!r} is taken: Python imports another module by it")
    return package


def write_project(name: str, parent: Path) -> str:
    """Write the project *name* into a new folder in *parent*, and return the name of its package.

    Raises:
        ProjectNameError: see `package_of`.
        ProjectNotWrittenError: the folder exists already, or cannot be written; nothing is left of it.
    """
    package = package_of(name)
    folder = parent / name
    if os.path.lexists(folder):
        raise ProjectNotWrittenError(f"{name} exists already; choose another name, or another folder")
    values = {"@name@": name, "@package@": package, "@version@": version("headrace")}
    try:
        folder.mkdir()
        for template in sorted(TEMPLATE.rglob(f"*{_SUFFIX}")):
            path = template.relative_to(TEMPLATE)
            parts = [package if part == _PACKAGE else part for part in path.parts]
            target = folder.joinpath(*parts).with_name(path.name.removesuffix(_SUFFIX))
            target.parent.mkdir(exist_ok=True)
            target.write_text(_filled(template.read_text(encoding="utf-8"), values), encoding="utf-8")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        reason = (error.strerror or str(error)).lower()
        raise ProjectNotWrittenError(f"cannot write {error.filename or folder}: {reason}") from error
    return package


def _filled(text: str, values: dict[str, str]) -> str:
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text
