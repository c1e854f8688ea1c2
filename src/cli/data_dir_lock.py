"""One `up` or `demo` per data folder, and the port that it listens on."""

import time
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from headrace.adapters.file_lock import FileLock, LockHeldError
from headrace.adapters.private_files import make_data_dir
from headrace.cli.listener import PortTakenError, listen
from headrace.cli.service import ServiceSpec
from headrace.cli.start_notice import LOCK_NAME
from headrace.domain.errors import HeadraceError

_ABANDONED_PORT_SECONDS: Final = 30.0
_RETRY_SECONDS: Final = 0.1
# `is_locked` in another process holds the lock for a moment.
_LOCK_SECONDS: Final = 0.1


class AnotherUpError(HeadraceError):
    """Another `up` runs on the same data folder; two would overwrite each other's files."""

    def __init__(self, data_dir: Path, holder: str) -> None:
        super().__init__(
            f"another headrace (process {holder}) uses {data_dir}: stop it first, or choose another"
            " folder with --data-dir"
        )


class DataFolderError(HeadraceError):
    """The data folder cannot be created or written."""

    def __init__(self, data_dir: Path, error: OSError) -> None:
        super().__init__(f"cannot use the data folder {data_dir}: {(error.strerror or str(error)).lower()}")


class DataDirLock:
    """The right to run on *data_dir* for the block. The system releases it when this process ends."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._lock: FileLock | None = None

    @property
    def was_abandoned(self) -> bool:
        """Whether the last `up` on this folder was killed."""
        return self._lock is not None and self._lock.was_abandoned

    def __enter__(self) -> "DataDirLock":
        try:
            make_data_dir(self._data_dir)
            self._lock = FileLock(self._data_dir / LOCK_NAME, timeout_seconds=_LOCK_SECONDS)
        except OSError as error:
            raise DataFolderError(self._data_dir, error) from error
        except LockHeldError as error:
            raise AnotherUpError(self._data_dir, error.holder) from error
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.release()


def resolve_port(spec: ServiceSpec, *, is_abandoned: bool) -> ServiceSpec:
    """Return the spec with a port that is free now; port 0 becomes any free one.

    *is_abandoned*: the last `up` was killed. Its API may still hold the port, so wait up to 30 s for it.

    Raises:
        PortTakenError: the port is taken.
    """
    deadline = time.monotonic() + (_ABANDONED_PORT_SECONDS if is_abandoned else 0)
    while True:
        try:
            with listen(spec.host, spec.port) as listener:
                return msgspec.structs.replace(spec, port=listener.getsockname()[1])
        except PortTakenError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
