"""The command line with which the user of a terminal reaches this installation."""

import os
import shlex
import shutil
import sys
from pathlib import Path


def typed_command() -> str:
    """Return `headrace` if a shell finds this installation by that name, else the shortest path to it."""
    own = Path(sys.executable).with_name("headrace")
    on_path = shutil.which("headrace")
    if on_path is not None and (Path(on_path).resolve() == own.resolve() or not os.access(own, os.X_OK)):
        return "headrace"
    folder = Path.cwd()
    path = own.relative_to(folder) if own.is_relative_to(folder) else own
    return shlex.quote(str(path))
