"""One embedded server of a data folder: starts it or takes it over, restarts and stops it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from headrace.adapters.file_lock import FileLock, LockHeldError
from headrace.adapters.log_files import rotate_open_log
from headrace.adapters.servers.errors import ServerError
from headrace.adapters.servers.folders import Home, lock_path, prepare_home
from headrace.adapters.servers.launch import RunningServer

# `is_locked` in another process holds the lock for a moment.
_LOCK_SECONDS: Final = 0.2


class Serve(Protocol):
    """Starts the server of *home* on *port* (None: a free port), or takes over one that runs there."""

    def __call__(self, home: Home, port: int | None) -> tuple[RunningServer, tuple[str, ...]]:
        """Return the server, and sentences for the user.

        Raises:
            ServerError: the server does not start.
        """


@dataclass(slots=True)
class EmbeddedServer:
    """A running server with its URL. After `stop` no process is left."""

    url: str
    notes: tuple[str, ...]
    running: RunningServer
    home: Home
    lock: FileLock
    serve: Serve

    @property
    def label(self) -> str:
        return self.running.program.label

    @property
    def version(self) -> str:
        return self.running.state.version

    def is_alive(self) -> bool:
        return self.running.is_alive()

    def rotate_log(self) -> None:
        """Rotate the log of the server if it is large."""
        rotate_open_log(self.home.log_file, follows_links=False)

    def restart(self) -> None:
        """Start a server that has ended again, on its old port, which its clients know.

        Raises:
            ServerError: the server does not start. The call may be retried.
        """
        self.running, _ = self.serve(self.home, self.running.state.port)

    def stop(self) -> None:
        """Stop the server and release its lock; a second call does nothing."""
        try:
            self.running.stop()
        finally:
            self.lock.release()


class Address(Protocol):
    """Builds the URL of a server that listens on *port* of this machine."""

    def __call__(self, home: Home, port: int) -> str: ...


def start(data_dir: Path, name: str, serve: Serve, address: Address, *, root_may_run: bool) -> EmbeddedServer:
    """Start the server *name* on its folder in *data_dir*, which is locked until the server is stopped.

    Raises:
        ServerError: the folder cannot be used, another launcher uses it, or the server does not start.
    """
    try:
        home = prepare_home(data_dir, name, root_may_run=root_may_run)
        lock = _acquire_lock(lock_path(data_dir, name))
        try:
            running, notes = serve(home, None)
        except BaseException:
            lock.release()
            raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ServerError(f"cannot use the data folder {error.filename or data_dir}: {reason}") from error
    return EmbeddedServer(
        address(home, running.state.port), (*home.notes, *notes), running, home, lock, serve
    )


def _acquire_lock(path: Path) -> FileLock:
    try:
        return FileLock(path, timeout_seconds=_LOCK_SECONDS)
    except LockHeldError as error:
        holder, server = error.holder or "unknown", path.with_suffix("")
        raise ServerError(f"another launcher (process {holder}) runs {server}: stop it first") from error
