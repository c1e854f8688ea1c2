"""Explains variables that look like settings but are none, because a misspelt setting has no effect. Pure."""

import re
from collections.abc import Collection, Iterable
from typing import Final

from headrace.domain.spelling import nearest

_PREFIX: Final = "HEADRACE_"
# Those of the client commands and of compose.yaml, and those of this project's tests.
_OTHERS: Final = frozenset(
    _PREFIX + name
    for name in (
        *("URL", "TOKEN", "PORT", "IMAGE"),
        *("FUZZ", "FUZZ_SEED", "FAULTS", "FAULTS_SEED", "TEST_SLOWNESS"),
    )
)
# Kubernetes sets these in every pod for a service whose name begins with `headrace`.
_SERVICE_LINK: Final = re.compile(
    r"HEADRACE_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)", re.ASCII
)
_MAX_LISTED: Final = 10


def explain_unknown(variables: Iterable[str], settings: Collection[str]) -> str | None:
    """Return one line about the *variables* that no part of the service reads; None if there are none.

    *settings* are the names of all settings.
    """
    unknown = sorted(
        name
        for name in variables
        if name.startswith(_PREFIX)
        and name not in _OTHERS
        and name not in settings
        and not _SERVICE_LINK.fullmatch(name)
    )
    if not unknown:
        return None
    sentences = [_explain(name, settings) for name in unknown[:_MAX_LISTED]]
    if len(unknown) > _MAX_LISTED:
        sentences.append(f"and {len(unknown) - _MAX_LISTED} more")
    return "; ".join(sentences)


def _explain(name: str, settings: Iterable[str]) -> str:
    # Compared without the prefix, which would make all names alike.
    suggestion = nearest(name.removeprefix(_PREFIX), (known.removeprefix(_PREFIX) for known in settings))
    advice = "" if suggestion is None else f" (did you mean {_PREFIX}{suggestion}?)"
    return f"{name} is not a setting{advice}"
