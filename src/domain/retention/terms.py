"""How long ended jobs, files and audit entries are kept: the terms of the settings and of pipelines. Pure."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from msgspec import Struct

FOREVER: Final = timedelta.max
"""The term of rows that are never removed."""

EndState = Literal["succeeded", "failed", "cancelled"]
END_STATES: Final[tuple[EndState, ...]] = ("succeeded", "failed", "cancelled")

SHORTEST: Final = timedelta(minutes=1)
"""Watchers and pollers need some seconds to see how a job has ended."""

LONGEST: Final = timedelta(days=36_500)

FOREVER_WORD: Final = "forever"
_UNITS: Final = {"y": 31_536_000, "w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_TERM: Final = re.compile(rf"([1-9][0-9]{{0,9}})([{''.join(_UNITS)}])", re.ASCII)
# Weeks are accepted, but `14d` is what people wrote.
_SHOWN_UNITS: Final = ("y", "d", "h", "m")


def parse_term(text: str) -> timedelta:
    """Parse a term such as `30d`, `12h` or `1y`, or `forever`.

    Raises:
        ValueError: the text is not a term, or it is too short or too long.
    """
    if text == FOREVER_WORD:
        return FOREVER
    match = _TERM.fullmatch(text)
    if match is None:
        raise ValueError("expected a time such as 30d, 12h or 1y, or forever")
    # Compared as a number, since a timedelta cannot be of any size.
    seconds = int(match[1]) * _UNITS[match[2]]
    if not SHORTEST.total_seconds() <= seconds <= LONGEST.total_seconds():
        raise ValueError("expected at least 1m and at most 100y, or forever")
    return timedelta(seconds=seconds)


def format_term(term: timedelta) -> str:
    """Return the text of *term*, in the largest unit that fits."""
    if term == FOREVER:
        return FOREVER_WORD
    seconds = int(term.total_seconds())
    unit = next((unit for unit in _SHOWN_UNITS if seconds and seconds % _UNITS[unit] == 0), "s")
    return f"{seconds // _UNITS[unit]}{unit}"


def horizon(now: datetime, term: timedelta) -> datetime | None:
    """Return the time before which rows are past *term*; None if none ever is."""
    return None if term == FOREVER else now - term


class RetentionTerms(Struct, frozen=True, kw_only=True):
    """How long each kind is kept. *files*: uploads, and the files of jobs that have ended."""

    succeeded: timedelta = timedelta(days=30)
    failed: timedelta = timedelta(days=90)
    cancelled: timedelta = timedelta(days=14)
    files: timedelta = FOREVER
    audit: timedelta = timedelta(days=365)

    def of_state(self, state: EndState) -> timedelta:
        """Return the term of jobs that have ended in *state*."""
        term: timedelta = getattr(self, state)
        return term


KEPT_KINDS: Final = RetentionTerms.__struct_fields__


class ChosenTerms(Struct, frozen=True, kw_only=True):
    """The terms that the settings name. None: not set."""

    succeeded: timedelta | None = None
    failed: timedelta | None = None
    cancelled: timedelta | None = None
    files: timedelta | None = None
    audit: timedelta | None = None

    def resolve(self, *, keeps_everything: bool) -> RetentionTerms:
        """Return the terms in force. *keeps_everything*: what is not set is kept forever."""
        default = dict.fromkeys(KEPT_KINDS, FOREVER) if keeps_everything else {}
        return RetentionTerms(**{**default, **self.named})

    @property
    def named(self) -> dict[str, timedelta]:
        """The terms that are set, by kind."""
        return {kind: term for kind in KEPT_KINDS if (term := getattr(self, kind)) is not None}


def store_pipeline_terms(keep: Mapping[Any, Any]) -> dict[str, float | str]:
    """Return what a pipeline keeps as JSON: seconds, or `forever`, by the state of the job.

    Raises:
        ValueError: a state or a term is not valid.
    """
    stored: dict[str, float | str] = {}
    for state, term in keep.items():
        if state not in END_STATES:
            raise ValueError(f"keep has the states {', '.join(END_STATES)}, not {state!r}")
        if term == FOREVER_WORD:
            stored[state] = FOREVER_WORD
        elif isinstance(term, timedelta) and SHORTEST <= term <= LONGEST:
            stored[state] = term.total_seconds()
        else:
            raise ValueError(
                f"keep[{state!r}] is a timedelta of at least a minute and at most 100 years, or 'forever',"
                f" not {term!r}"
            )
    return stored


def read_pipeline_terms(stored: Mapping[str, float | str] | None) -> dict[EndState, timedelta]:
    """Return the terms that `store_pipeline_terms` has stored."""
    terms = stored or {}
    return {
        state: FOREVER if terms[state] == FOREVER_WORD else timedelta(seconds=float(terms[state]))
        for state in END_STATES
        if state in terms
    }
