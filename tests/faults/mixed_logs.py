"""Finds errors in the logs of a mixed run that none of its faults explains."""

import re
from pathlib import Path
from typing import Final

# The supervisor reports a worker that was killed, the next worker its jobs, and the store what it refuses.
_EXPECTED: Final = frozenset({"worker_ended", "worker_died", "blob_not_removed", "fork_server_ended"})
_COLOUR: Final = re.compile("\x1b\\[[0-9;]*m")
_ERROR: Final = re.compile(r'"event": "(\w+)", "level": "error"|\[error *\] (\w+)')


def unexpected_errors(folder: Path) -> list[str]:
    """Return the error lines of all logs in *folder* whose event is not expected."""
    lines = []
    for log in sorted(folder.glob("*.log")):
        for line in _COLOUR.sub("", log.read_text(errors="replace")).splitlines():
            match = _ERROR.search(line)
            if match is not None and not _EXPECTED & {*match.groups()}:
                lines.append(f"{log.name}: {line}")
    return lines
