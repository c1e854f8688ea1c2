"""What the process that supervises a worker wants to know of it."""

from pathlib import Path
from typing import Final

from msgspec import Struct


class Supervision(Struct, frozen=True, kw_only=True):
    """The files in which a worker reports to its parent process; None: to nobody.

    *crash_record* explains the death of this process to its successor, and that of its predecessor to this
    one. With it, only the parent process can stop this one: see `StopRequests`. *is_restart*: a predecessor
    has worked, so what would refuse a first start may pass: a refused login, an old schema, a wrong clock, a
    full or read-only store. To *imports* go the names of the users' files that this process has imported, and
    to *faults* what is wrong with the sources of pipelines.
    """

    crash_record: Path | None = None
    is_restart: bool = False
    imports: Path | None = None
    faults: Path | None = None


NO_SUPERVISION: Final = Supervision()
