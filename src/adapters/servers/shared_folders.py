"""Folders outside the data folder, for servers whose account cannot reach the data folder of root."""

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from headrace.adapters.servers.accounts import Account
from headrace.adapters.servers.errors import ServerError

# /var/lib first: many systems delete files in /var/tmp that were not used for 30 days.
SHARED_ROOTS: Final = [Path("/var/lib"), Path("/var/tmp")]  # noqa: S108 - see claim_shared_folder


def shared_folder(root: Path, key: Path) -> Path:
    """Return the folder under *root* that replaces *key* for an account that cannot reach *key*."""
    return root / f"headrace-{hashlib.sha256(os.fsencode(key)).hexdigest()[:16]}"


def has_shared_folder(key: Path, name: str) -> bool:
    """Return whether a shared folder for *key* already holds an entry called *name*."""
    return any(os.path.lexists(shared_folder(root, key) / name) for root in SHARED_ROOTS)


def claim_shared_folder(key: Path, accounts: list[Account]) -> tuple[Path, Account]:
    """Create or reuse the shared folder for *key* (mode 700). Returns it and which of *accounts* owns it.

    Every user may write beside it, so a folder that is not surely ours is refused.

    Raises:
        ServerError: the folder is not ours, or cannot be created anywhere.
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
            status = os.fstat(descriptor)
            if stat.S_IMODE(status.st_mode) & 0o077:
                raise refusal
            if status.st_uid == 0:
                os.fchown(descriptor, accounts[0].uid, accounts[0].gid)
                return folder, accounts[0]
            owner = next((account for account in accounts if account.uid == status.st_uid), None)
            if owner is None:
                raise refusal
            return folder, owner
        finally:
            os.close(descriptor)
    raise ServerError(
        f"user {accounts[0].name} cannot reach {key}, and no shared folder can be created: move {key}"
    )
