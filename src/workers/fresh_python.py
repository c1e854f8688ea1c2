"""How this installation's own code is started in another process."""

import sys
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).parents[1]
# Our modules come first, whatever lies in the folder or on the path of whoever started us.
_START: Final = "import sys; sys.path.insert(0, sys.argv.pop(1)); from {} import main; main()"


def fresh_python(module: str, *arguments: str) -> list[str]:
    """The command line that calls `main` of *module* with *arguments*."""
    return [sys.executable, "-P", "-c", _START.format(module), str(_SOURCE), *arguments]
