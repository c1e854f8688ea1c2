"""One server of a data folder: started or taken over, started again where it ended, stopped."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headrace.adapters.servers.errors import ServerError
from headrace.adapters.servers.folders import Home, Lock, lock_path, prepare_home
from headrace.adapters.servers.launch import RunningServer


class Serve(Protocol):
    """Starts the server of *home* on *port* (None: on a free one), or takes over one that runs there."""

    def __call__(self, home: Home, port: int | None) -> tuple[RunningServer, tuple[str, ...]]:
        """The server, and sentences that the user should read.

        Raises:
            ServerError: it does not start.
        """


@dataclass(slots=True)
class EmbeddedServer:
    """A server with what a client needs; leaves no process behind after `stop`."""

    url: str
    notes: tuple[str, ...]
    running: RunningServer
    home: Home
    lock: Lock
    serve: Serve

    @property
    def label(self) -> str:
        return self.running.program.label

    @property
    def version(self) -> str:
        return self.running.state.version

    def is_alive(self) -> bool:
        return self.running.is_alive()

    def restart(self) -> None:
        """Start the server where it was, once it has ended by itself; its clients know that place.

        Raises:
            ServerError: it does not start; it may be tried again.
        """
        self.running, _ = self.serve(self.home, self.running.state.port)

    def stop(self) -> None:
        """End the server and let other launchers in; a second call does nothing."""
        try:
            self.running.stop()
        finally:
            self.lock.release()


class Address(Protocol):
    """Gives the URL of a server that listens on *port* of this machine."""

    def __call__(self, home: Home, port: int) -> str: ...


def start(data_dir: Path, name: str, serve: Serve, address: Address, *, root_may_run: bool) -> EmbeddedServer:
    """Run the server *name* over its folder in *data_dir*, which is locked until it is stopped.

    Raises:
        ServerError: a folder that cannot be used, another launcher at work there, or no start.
    """
    try:
        home = prepare_home(data_dir, name, root_may_run=root_may_run)
        lock = Lock(lock_path(data_dir, name))
        try:
            running, notes = serve(home, None)
        except BaseException:
            lock.release()
            raise
    except OSError as error:
        told = (error.strerror or str(error)).lower()
        raise ServerError(f"cannot use the data folder {error.filename or data_dir}: {told}") from error
    return EmbeddedServer(
        address(home, running.state.port), (*home.notes, *notes), running, home, lock, serve
    )
