"""The command line that starts this installation's own code in another process."""

import sys
from typing import Final

_START: Final = "import os; os.nice({}); from {} import main; main()"


def fresh_python(module: str, *arguments: str, nice: int = 0) -> list[str]:
    """The command line that calls `main` of *module* with *arguments*.

    *nice* is added to the process's niceness, from 0 to 19. The working folder is not on its import path.
    """
    return [sys.executable, "-P", "-c", _START.format(nice, module), *arguments]
