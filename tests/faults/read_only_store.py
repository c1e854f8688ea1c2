"""Makes the folder of stored files read-only for a while, for every account that runs the service."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from faults.processes import HEADRACE

_OVERRIDE: Final = "-dac_override"

# Root may write to a folder of any mode, unless its processes give that right away.
HEADRACE_WITHOUT_OVERRIDE: Final = (
    ("setpriv", "--bounding-set", _OVERRIDE, "--inh-caps", _OVERRIDE, *HEADRACE)
    if os.geteuid() == 0
    else HEADRACE
)
"""The command that starts parts of the service which respect the modes of files."""


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Refuse new and removed entries in *folder* and the folders below it while the block runs."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    modes = {path: path.stat().st_mode for path in folders}
    try:
        for path in folders:
            path.chmod(0o555)
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
