"""Builds the command line that runs a module of this installation in another process."""

import sys
from typing import Final

from headrace.domain.pipelines.loading import import_path

_START: Final = "import os, sys; sys.path[:] = {}; os.nice({}); from {} import main; main()"


def fresh_python(module: str, *arguments: str, nice: int = 0) -> list[str]:
    """Return the command line that calls `main` of *module* with *arguments*.

    *nice*, from 0 to 19, is added to the niceness of the process. It imports modules from where this process
    does.
    """
    start = _START.format(list(import_path()), nice, module)
    return [sys.executable, "-P", "-c", start, *arguments]
