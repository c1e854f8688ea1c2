"""Reads secrets from the environment, or from the files that it names, as containers mount secrets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from headrace.adapters.server_urls import read_password
from headrace.settings_checks import SettingsError

FILE_SUFFIX: Final = "_FILE"
"""The end of the name of a variable that names the file with a secret: `HEADRACE_SECRET_KEY_FILE`."""
SECRET_FIELDS: Final = frozenset({"secret_key", "proxy_secret", "job_token_key", "client_secret"})
"""The settings that may be in a file. Passwords of servers are not here: connections read their files."""


def read_text(source: Mapping[str, str], field: str, variable: str) -> str:
    """Return the value of the setting *field*; empty if *variable* is not set.

    Raises:
        SettingsError: see `read_secret`.
    """
    return read_secret(source, variable) if field in SECRET_FIELDS else source.get(variable, "").strip()


def read_secret(source: Mapping[str, str], variable: str) -> str:
    """Return the secret of *variable*, or of the file that *variable* with `_FILE` names; empty if not set.

    Raises:
        SettingsError: both are set, or the file cannot be read.
    """
    value, file = source.get(variable, "").strip(), source.get(variable + FILE_SUFFIX, "").strip()
    if not file:
        return value
    if value:
        raise SettingsError(f"{variable}{FILE_SUFFIX} and {variable} are both set; remove one of them")
    try:
        return read_password(Path(file).expanduser()).strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{variable}{FILE_SUFFIX}: {error}") from error
