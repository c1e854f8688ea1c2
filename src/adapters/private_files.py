"""Creates files that only their owner may read (mode 600), in folders that only it may enter (mode 700)."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final, Literal

import structlog

_log = structlog.get_logger(__name__)

_FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
# Under root, an embedded server runs as an account that has to pass through the data folder to its own.
_PASSABLE_MODE: Final = 0o711
_OTHERS: Final = 0o077


def open_private(path: Path, mode: Literal["ab", "w+b", "xb"], *, follows_links: bool = True) -> BinaryIO:
    """Open a file as `open` does. A new one gets mode 600, and an older one loses the rights of others."""
    no_follow = 0 if follows_links else os.O_NOFOLLOW
    file: BinaryIO = open(path, mode, opener=lambda name, flags: os.open(name, flags | no_follow, _FILE_MODE))  # noqa: SIM115
    restrict([file.fileno()])
    return file


def replace_private(path: Path, content: bytes) -> None:
    """Write a file with mode 600. Readers find the whole of it, or what was there before."""
    draft = path.with_name(f"{path.name}.part")
    draft.unlink(missing_ok=True)
    with open_private(draft, "xb") as file:
        file.write(content)
    draft.replace(path)


def make_data_dir(folder: Path) -> None:
    """Make the data folder, which other users cannot list. An existing one keeps its mode.

    It may hold more than our files. What we put into it is private by itself.
    """
    folder.mkdir(mode=_PASSABLE_MODE if os.geteuid() == 0 else FOLDER_MODE, parents=True, exist_ok=True)


def make_private_folder(folder: Path) -> None:
    """Make a folder with mode 700. An existing one loses the rights of others."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    restrict([folder.resolve()])


def restrict(paths: Iterable[Path | int]) -> int:
    """Take the rights of others from files and folders, and return how many had some.

    Missing files and symbolic links are skipped: others may have made a link to a file of ours. Files that
    cannot be changed, because they have another owner, are logged in one line.
    """
    count, refusals = 0, 0
    for path in paths:
        try:
            mode = (os.fstat(path) if isinstance(path, int) else path.lstat()).st_mode
            if mode & _OTHERS and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                os.chmod(path, stat.S_IMODE(mode) & ~_OTHERS)  # noqa: PTH101
                count += 1
        except FileNotFoundError:
            continue
        except OSError as error:
            refusals += 1
            last_reason = str(error)
    if refusals:
        _log.warning("not_private", files=refusals, reason=last_reason)
    return count
