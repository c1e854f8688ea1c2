"""How this installation's own code is started in another process."""

import sys
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).parents[1]
# Our modules come first, whatever lies in the folder or on the path of whoever started us.
_START: Final = (
    "import os, sys; os.nice({}); sys.path.insert(0, sys.argv.pop(1)); from {} import main; main()"
)


def fresh_python(module: str, *arguments: str, nice: int = 0) -> list[str]:
    """The command line that calls `main` of *module* with *arguments*.

    *nice*: how far it steps back behind other processes, from 0 to 19.
    """
    return [sys.executable, "-P", "-c", _START.format(nice, module), str(_SOURCE), *arguments]
