"""Where a server keeps its files, as whom it runs there, and the lock that lets one launcher in."""

import fcntl
import hashlib
import os
import pwd
import secrets
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from headrace.adapters.servers.binaries import PostgresBinaries
from headrace.adapters.servers.errors import ServerError
from headrace.adapters.servers.processes import POLL_SECONDS, Account, run

# For root only. /var/lib first: many systems clear /var/tmp of what was not touched for 30 days.
SHARED_ROOTS: Final = [Path("/var/lib"), Path("/var/tmp")]  # noqa: S108 - see _claim_shared
_UNPRIVILEGED: Final = ("postgres", "nobody")
_LOG_BYTES: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Home:
    """The private folder (mode 700) of one server; *account* is None when it runs as ourselves."""

    path: Path
    account: Account | None
    notes: tuple[str, ...] = ()

    @property
    def password_file(self) -> Path:
        return self.path / "password"

    @property
    def log_file(self) -> Path:
        return self.path / "server.log"


class Lock:
    """A file lock held until `release` or the end of this process, however it ends."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            ServerError: another launcher holds it.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        self._file: IO[str] = os.fdopen(os.open(path, flags, 0o600), "r+")
        if os.geteuid() == 0:
            # Else the folder's owner could never be its launcher again.
            owner = path.parent.stat()
            os.fchown(self._file.fileno(), owner.st_uid, owner.st_gid)
        # A `describe` elsewhere holds the lock for a moment, to see whether it is free.
        deadline = time.monotonic() + 0.2
        while not self._try():
            if time.monotonic() > deadline:
                holder = self._file.read().strip() or "unknown"
                self._file.close()
                server = path.with_suffix("")
                raise ServerError(f"another launcher (process {holder}) runs {server}: stop it first")
            time.sleep(POLL_SECONDS)
        self._file.seek(0)
        self._file.truncate()
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def _try(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let the next launcher in."""
        self._file.close()


def lock_path(data_dir: Path, name: str) -> Path:
    """The lock of server *name*; it stays in the data folder even when the server's files moved away."""
    return data_dir.resolve() / f"{name}.lock"


def is_locked(path: Path) -> bool:
    """Whether a launcher lives that holds this lock."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def shared_folder(root: Path, key: Path) -> Path:
    """The folder under *root* that stands in for *key* where the server's user cannot reach it."""
    return root / f"headrace-{hashlib.sha256(os.fsencode(key)).hexdigest()[:16]}"


def prepare_home(data_dir: Path, name: str, *, root_may_run: bool) -> Home:
    """Make the private folder of server *name* in *data_dir*, and decide as whom the server runs.

    An ordinary user runs it as itself. Root runs it as the owner of the folder when that is somebody
    else; else as itself where *root_may_run*, as postgres or nobody where not.

    Raises:
        ServerError: the folder belongs to somebody else or cannot be reached.
    """
    data_dir = data_dir.resolve()
    path = data_dir / name
    data_dir.mkdir(parents=True, exist_ok=True)
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

    accounts = [_account(owner)] if owner else _unprivileged()
    moved = next(
        (root for root in SHARED_ROOTS if os.path.lexists(shared_folder(root, data_dir) / name)), None
    )
    reachable = can_enter(data_dir, accounts[0])
    if not reachable and path.exists() and any(path.iterdir()):
        raise ServerError(
            f"user {accounts[0].name} cannot reach {path}: make the folders above it passable (chmod o+x)"
        )
    if reachable and not moved:
        return Home(_make_private(path, accounts[0]), accounts[0])
    shared, account = _claim_shared(data_dir, accounts)
    note = f"user {account.name} cannot reach {data_dir}: the files of {name} are in {shared / name}"
    return Home(_make_private(shared / name, account), account, (note,))


def reachable_binaries(
    binaries: PostgresBinaries, account: Account | None
) -> tuple[PostgresBinaries, tuple[str, ...]] | None:
    """*binaries*, or a copy where *account* cannot run them, with notes for the user.

    None when it cannot run them and they are not ours to copy: only the wheel is known to work from
    another place.
    """
    if account is None or _can_run(binaries, account):
        return binaries, ()
    if binaries.kind == "system":
        return None
    install = binaries.folder.parent
    package = install.parent
    shared, _ = _claim_shared(install, [account, *_unprivileged()])
    copy = shared / binaries.version
    if not copy.exists():
        # Made under another name first: a launcher killed half-way must not leave half a server.
        draft = Path(tempfile.mkdtemp(dir=shared))
        draft.chmod(0o755)
        skipped = shutil.ignore_patterns("include")
        shutil.copytree(install, draft / package.name / install.name, symlinks=True, ignore=skipped)
        # The binaries look for their libraries at these places beside them (their RPATH).
        libraries = (package.with_name(f"{package.name}.libs"), package / ".dylibs")
        for folder in libraries:
            if folder.exists():
                shutil.copytree(folder, draft / folder.relative_to(package.parent), symlinks=True)
        try:
            draft.rename(copy)
        except OSError:  # another launcher was quicker
            shutil.rmtree(draft)
    copied = PostgresBinaries(binaries.kind, copy / package.name / install.name / "bin", binaries.version)
    if not _can_run(copied, account):
        return None
    return copied, (f"user {account.name} cannot reach {install}: PostgreSQL runs from a copy in {copy}",)


def can_enter(folder: Path, account: Account | None) -> bool:
    """Whether *account* may pass through *folder*; asked of the system, which knows about ACLs."""
    return run(["/bin/sh", "-c", 'cd "$1"', "sh", folder], account=account).returncode == 0


def write_private(path: Path, content: str, account: Account | None) -> None:
    """Replace *path* by a file (mode 600) that *account* owns, all at once."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        if account:
            os.fchown(file.fileno(), account.uid, account.gid)
        file.flush()
        os.fsync(file.fileno())
    Path(draft).replace(path)


def password_of(home: Home) -> str:
    """The password of the server in *home*, made up and stored on the first call."""
    with_content = home.password_file.exists() and home.password_file.read_text().strip()
    if with_content:
        return with_content
    password = secrets.token_urlsafe(24)
    write_private(home.password_file, password, home.account)
    return password


def open_log(home: Home) -> IO[bytes]:
    """Open the server's log for appending; one that grew past 10 MB is put aside first."""
    if home.log_file.exists() and home.log_file.stat().st_size > _LOG_BYTES:
        home.log_file.replace(home.log_file.with_suffix(".log.1"))
    # No link is followed: the folder may belong to an account less trusted than ours.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    descriptor = os.open(home.log_file, flags, 0o600)
    if home.account:
        os.fchown(descriptor, home.account.uid, home.account.gid)
    return os.fdopen(descriptor, "ab")


def _can_run(binaries: PostgresBinaries, account: Account) -> bool:
    try:
        return run([binaries.folder / "initdb", "--version"], account=account).returncode == 0
    except ServerError:
        return False


def _make_private(path: Path, account: Account) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    os.chown(path, account.uid, account.gid)
    path.chmod(0o700)
    return path


def _account(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, uid)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _unprivileged() -> list[Account]:
    accounts = []
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        accounts.append(Account(entry.pw_name, entry.pw_uid, entry.pw_gid))
    if not accounts:
        raise ServerError(
            "PostgreSQL refuses to run as root and there is no user postgres or nobody: use another user"
        )
    return accounts


def _claim_shared(key: Path, accounts: list[Account]) -> tuple[Path, Account]:
    """The stand-in folder for *key* (mode 700), made or found, and which of *accounts* owns it.

    Anybody may write beside it, so one that is not surely ours is refused.
    """
    for root in SHARED_ROOTS:
        folder = shared_folder(root, key)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError:
            continue
        refusal = ServerError(f"{folder} was not made by Headrace or is open to others: remove it")
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            raise refusal from error
        try:
            found = os.fstat(descriptor)
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise refusal
            if found.st_uid == 0:
                os.fchown(descriptor, accounts[0].uid, accounts[0].gid)
                return folder, accounts[0]
            owner = next((account for account in accounts if account.uid == found.st_uid), None)
            if owner is None:
                raise refusal
            return folder, owner
        finally:
            os.close(descriptor)
    raise ServerError(
        f"user {accounts[0].name} cannot reach {key}, and no other place can be written: move it"
    )
