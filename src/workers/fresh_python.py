"""How this installation's own code is started in another process."""

import sys
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).parents[1]
# Our modules come first, whatever lies in the folder or on the path of whoever started us. What the process
# starts is in a group with it, so that all of it can be ended; uvloop cannot make the group.
_START: Final = (
    "import os, sys; os.setpgid(0, 0); sys.path.insert(0, sys.argv.pop(1)); from {} import main; main()"
)


def fresh_python(module: str, *arguments: str) -> list[str]:
    """The command line that calls `main` of *module* with *arguments*, in a process group of its own."""
    return [sys.executable, "-P", "-c", _START.format(module), str(_SOURCE), *arguments]
