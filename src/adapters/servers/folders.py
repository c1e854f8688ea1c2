"""The private folder of one embedded server: its place, its owner, its password and its log."""

import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from headrace.adapters.log_files import open_log
from headrace.adapters.private_files import make_data_dir
from headrace.adapters.servers.accounts import Account, account_of, unprivileged_accounts
from headrace.adapters.servers.errors import ServerError
from headrace.adapters.servers.processes import run
from headrace.adapters.servers.shared_folders import claim_shared_folder, has_shared_folder


@dataclass(frozen=True, slots=True)
class Home:
    """The private folder (mode 700) of one server. *account* is None if it runs as the current user."""

    path: Path
    account: Account | None
    notes: tuple[str, ...] = ()

    @property
    def password_file(self) -> Path:
        return self.path / "password"

    @property
    def log_file(self) -> Path:
        return self.path / "server.log"


def lock_path(data_dir: Path, name: str) -> Path:
    """Return the lock file of server *name*. It is in the data folder even if the server's files are not."""
    return data_dir.resolve() / f"{name}.lock"


def prepare_home(data_dir: Path, name: str, *, root_may_run: bool) -> Home:
    """Create the private folder of server *name* in *data_dir*, and choose the account that runs the server.

    An ordinary user runs it as itself. Root runs it as the owner of the folder, if that is another account;
    otherwise as root with *root_may_run*, and as `postgres` or `nobody` without.

    Raises:
        ServerError: the folder belongs to another user or cannot be reached.
    """
    data_dir = data_dir.resolve()
    path = data_dir / name
    make_data_dir(data_dir)
    if os.geteuid() != 0:
        path.mkdir(mode=0o700, exist_ok=True)
        if path.stat().st_uid != os.geteuid():
            raise ServerError(f"{path} belongs to another user: run as that user, or use another data folder")
        path.chmod(0o700)
        return Home(path, None)

    owner = path.stat().st_uid if path.exists() else 0
    if owner == 0 and root_may_run:
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)
        return Home(path, None)

    accounts = [account_of(owner)] if owner else unprivileged_accounts()
    was_moved = has_shared_folder(data_dir, name)
    is_reachable = can_enter(data_dir, accounts[0])
    if not is_reachable and path.exists() and any(path.iterdir()):
        raise ServerError(
            f"user {accounts[0].name} cannot reach {path}: make the folders above it passable (chmod o+x)"
        )
    if is_reachable and not was_moved:
        return Home(_make_private(path, accounts[0]), accounts[0])
    shared, account = claim_shared_folder(data_dir, accounts)
    note = f"user {account.name} cannot reach {data_dir}: the files of {name} are in {shared / name}"
    return Home(_make_private(shared / name, account), account, (note,))


def can_enter(folder: Path, account: Account | None) -> bool:
    """Return whether *account* may pass through *folder*. The system decides, since it knows about ACLs."""
    return run(["/bin/sh", "-c", 'cd "$1"', "sh", folder], account=account).returncode == 0


def write_private(path: Path, content: str, account: Account | None) -> None:
    """Replace *path* atomically by a file (mode 600) that *account* owns."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        if account:
            os.fchown(file.fileno(), account.uid, account.gid)
        file.flush()
        os.fsync(file.fileno())
    Path(draft).replace(path)


def ensure_password(home: Home) -> str:
    """Return the password of the server in *home*; the first call generates and stores it."""
    stored = home.password_file.exists() and home.password_file.read_text().strip()
    if stored:
        return stored
    password = secrets.token_urlsafe(24)
    write_private(home.password_file, password, home.account)
    return password


def open_server_log(home: Home) -> IO[bytes]:
    """Open the server's log for appending; a large one is rotated first."""
    log = open_log(home.log_file, follows_links=False)
    if home.account:
        os.fchown(log.fileno(), home.account.uid, home.account.gid)
    return log


def _make_private(path: Path, account: Account) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    os.chown(path, account.uid, account.gid)
    path.chmod(0o700)
    return path
