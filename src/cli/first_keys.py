"""Writes the first API keys to files, for an operator and for Prometheus, when the database is migrated."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

from headrace.adapters.private_files import open_private
from headrace.cli.admin import open_console
from headrace.cli.database_refusals import translate_refusals
from headrace.domain.accounts.console import KeyStatus
from headrace.domain.accounts.keys import prefix_of
from headrace.domain.accounts.scopes import Scope
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings

_MAX_BYTES: Final = 1_024


class KeyNotWrittenError(HeadraceError):
    """The file of the first key cannot be written."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"cannot write the first key to {file}: {reason}")


class FirstKey(StrEnum):
    """What became of the file of a first key."""

    MADE = "made"
    KEPT = "kept"
    REPLACED = "replaced"
    """Its database is gone, or was replaced by a backup, so that its key was worth nothing."""
    DELETED = "deleted"
    """Somebody has deleted its key, which is not undone."""


def write_first_key(settings: Settings, file: Path, scope: Scope, *, mode: int = 0o600) -> FirstKey:
    """Create a key of an admin with *scope* in *file*, which has *mode*, unless it holds a key already.

    A key that the database has never had is replaced. The name of the user has a random part, so that nobody
    whom a proxy names can be taken for this admin.

    Raises:
        KeyNotWrittenError: the file cannot be written, or holds something else than a key.
        HeadraceError: the database cannot be used.
    """
    present = _read_key(file)
    if present is not None:
        status = _find_status(settings, present)
        if status is not KeyStatus.UNKNOWN:
            return FirstKey.KEPT if status is KeyStatus.VALID else FirstKey.DELETED
    _write_new_key(settings, file, scope, mode)
    return FirstKey.MADE if present is None else FirstKey.REPLACED


def _read_key(file: Path) -> str | None:
    """Return the key in *file*; None if there is no such file, or if it is empty."""
    with _refusals_of(file):
        try:
            with file.open("rb") as opened:
                content = opened.read(_MAX_BYTES)
        except FileNotFoundError:
            return None
    text = content.decode("ascii", errors="replace").strip()
    if not text:
        return None
    if prefix_of(text) is None:
        raise KeyNotWrittenError(file, "it holds something else than an API key")
    return text


def _find_status(settings: Settings, key: str) -> KeyStatus:
    async def find() -> KeyStatus:
        async with open_console(settings.database) as console:
            return await console.find_status(key)

    with translate_refusals():
        return asyncio.run(find())


def _write_new_key(settings: Settings, file: Path, scope: Scope, mode: int) -> None:
    # Process ids repeat in containers, and a migration that was killed has left its draft.
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    with _refusals_of(file):
        # A folder that cannot be written must not leave a key in the database at each start.
        opened = open_private(draft, "xb")
    try:
        with opened:
            key = _make_first_key(settings, scope)
            with _refusals_of(file):
                opened.write(f"{key}\n".encode())
                opened.flush()
                os.fchmod(opened.fileno(), mode)
                os.fsync(opened.fileno())
                draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def _make_first_key(settings: Settings, scope: Scope) -> str:
    user = f"{scope.partition(':')[0]}-{secrets.token_hex(8)}"

    async def make() -> str:
        async with open_console(settings.database) as console:
            _, text = await console.create_key(user, "first", [scope], None, makes_admin=True)
            return text

    with translate_refusals():
        return asyncio.run(make())


@contextlib.contextmanager
def _refusals_of(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KeyNotWrittenError(file, (error.strerror or str(error)).lower()) from error
