"""Who may run over a data folder, and on which port."""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Final

import msgspec

from headrace.cli.service import ServiceSpec
from headrace.domain.errors import HeadraceError

_LEFT_BEHIND_SECONDS: Final = 30.0
_ASK_SECONDS: Final = 0.1


class AnotherUpError(HeadraceError):
    """Two of them over one folder would take each other's files."""

    def __init__(self, data_dir: Path, holder: str) -> None:
        super().__init__(
            f"another headrace (process {holder}) runs over {data_dir}: stop it first, or choose another"
            " folder with --data-dir"
        )


class DataFolderError(HeadraceError):
    """Nothing can be kept there."""

    def __init__(self, data_dir: Path, error: OSError) -> None:
        super().__init__(f"cannot use the data folder {data_dir}: {(error.strerror or str(error)).lower()}")


class DataDirLock:
    """The right to run over *data_dir*, for the block; the system takes it from whoever dies."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._file: IO[str] | None = None
        self.was_left_behind = False

    def __enter__(self) -> "DataDirLock":
        path = self._data_dir / "up.lock"
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+")
        except OSError as error:
            raise DataFolderError(self._data_dir, error) from error
        holder = self._file.read().strip()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise AnotherUpError(self._data_dir, holder) from error
        # Whoever ends in order leaves it empty.
        self.was_left_behind = bool(holder)
        self._write(str(os.getpid()))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._write("")
            self._file.close()

    def _write(self, text: str) -> None:
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(text)
            self._file.flush()


def lock_port(plan: ServiceSpec, *, patient: bool) -> ServiceSpec:
    """The plan with a port that is free now. *patient*: the API of a killed `up` may just be leaving it.

    Raises:
        PortTakenError: it is not free.
    """
    from headrace.cli.server import PortTakenError, listen

    deadline = time.monotonic() + (_LEFT_BEHIND_SECONDS if patient else 0)
    while True:
        try:
            with listen(plan.host, plan.port) as listener:
                return msgspec.structs.replace(plan, port=listener.getsockname()[1])
        except PortTakenError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_ASK_SECONDS)
