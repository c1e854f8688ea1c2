"""Builds the command line that runs a module of this installation in another process."""

import sys
from typing import Final

_START: Final = "import os; os.nice({}); from {} import main; main()"


def fresh_python(module: str, *arguments: str, nice: int = 0) -> list[str]:
    """Return the command line that calls `main` of *module* with *arguments*.

    *nice*, from 0 to 19, is added to the niceness of the process. The working folder is not on its import
    path.
    """
    return [sys.executable, "-P", "-c", _START.format(nice, module), *arguments]
