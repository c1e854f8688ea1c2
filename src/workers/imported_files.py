"""Tells `up --reload` which files of users a worker has imported."""

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from headrace.adapters.private_files import replace_private
from headrace.domain.pipelines.loading import Failure
from headrace.domain.pipelines.tracebacks import INSTALLED

_WRITE_SECONDS: Final = 1.0
_OWN: Final = str(Path(__file__).parents[1]) + os.sep
_PACKAGES: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


class ImportedFiles:
    """Writes the names of imported files to *path*, as a list in JSON, at once; with None it does nothing.

    Those of Python, of installed packages and of Headrace are left out. *failures*: modules that could not be
    loaded, whose files count as well.
    """

    def __init__(self, path: Path | None, failures: Iterable[Failure] = ()) -> None:
        self._path = path
        self._failed = [file for failure in failures for file in failure.files]
        self._module_count = 0
        self.write()

    def write(self) -> None:
        """Write the names of what is imported by now."""
        if self._path is None:
            return
        self._module_count = len(sys.modules)
        files = {str(Path(file).absolute()) for file in (*self._failed, *_module_files()) if _is_users(file)}
        replace_private(self._path, msgspec.json.encode(sorted(files)))

    async def run(self) -> None:
        """Write the names again each time that steps have imported more, until cancelled."""
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            if len(sys.modules) != self._module_count:
                self.write()


def _module_files() -> Iterator[str]:
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str):
            yield file


def _is_users(file: str) -> bool:
    is_installed = file.startswith((*INSTALLED, _OWN)) or any(name in file for name in _PACKAGES)
    return file.endswith(".py") and not is_installed
