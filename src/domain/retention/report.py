"""Measures everything that grows, for `GET /retention`: rows, bytes, the oldest, and when its rule runs.

A table is counted up to a bound. Beyond it, the statistics of PostgreSQL give an estimate, so that a report
takes as long with ten million jobs as with ten thousand.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from msgspec import Struct

from headrace.domain.database import Database, Row
from headrace.domain.retention.growth import (
    COUNT_BOUND,
    FETCH_SHARES,
    GROWING,
    MEASURE,
    MEASURE_JOBS,
    Growth,
)
from headrace.domain.retention.installation import keeps_everything
from headrace.domain.retention.pipeline_terms import fetch_pipeline_terms
from headrace.domain.retention.rules import FIXED_EXPIRIES
from headrace.domain.retention.terms import (
    END_STATES,
    FOREVER,
    ChosenTerms,
    EndState,
    RetentionTerms,
    format_term,
)
from headrace.domain.workers.directory import ALIVE_WITHIN

Reason = Literal["setting", "default", "upgrade", "fixed", "job"]

_FETCH_RUNS: Final = """
SELECT name, succeeded_at, next_run_at, found, found_bytes, found_oldest, (
    SELECT count(*) > 0 FROM workers WHERE last_seen_at > statement_timestamp() - $1::interval
) AS is_served
FROM chores
"""
_HOURLY: Final = timedelta(hours=1)
_WITH_ITS_JOB: Final = "with its job"
_UNTIL_IT_EXPIRES: Final = "until it expires"
# The name, the chore, and how long they are kept.
_FOUND_IN_FOLDERS: Final = (
    ("unfinished_writes", "blob_search", "1d"),
    ("scratch_folders", "scratch_folders", "until its worker ends"),
)
_FIXED: Final = {expiry.table: expiry.after for expiry in FIXED_EXPIRIES}


class RetentionItem(Struct, frozen=True, kw_only=True):
    """One kind of things that grows. *keep*: a term such as `30d`, or words such as `with its job`.

    *because*: what has decided that: a `setting`, the `default`, an `upgrade` of an installation that had
    jobs, the service itself (`fixed`), or the `job`.
    """

    name: str
    keep: str
    because: Reason
    rows: int
    is_estimate: bool
    bytes: int
    oldest_at: datetime | None
    last_run_at: datetime | None
    next_run_at: datetime | None


class PipelineKeep(Struct, frozen=True):
    """What one version of a pipeline keeps by itself, by the state in which its jobs have ended."""

    pipeline: str
    version: int
    keep: dict[str, str]


class Retention(Struct, frozen=True):
    """A report. *keeps_everything*: what no setting names is kept, since there were jobs before retention."""

    items: Sequence[RetentionItem]
    pipelines: Sequence[PipelineKeep]
    keeps_everything: bool


class RetentionReport:
    """Builds reports on the terms of this process's settings."""

    def __init__(self, database: Database, chosen: ChosenTerms) -> None:
        self._database = database
        self._chosen = chosen

    async def build(self) -> Retention:
        """Measure everything now."""
        keeps_all = await keeps_everything(self._database)
        terms = self._chosen.resolve(keeps_everything=keeps_all)
        runs = {row["name"]: row for row in await self._database.fetch(_FETCH_RUNS, ALIVE_WITHIN)}
        rows = {row["name"]: row for row in await self._database.fetch(MEASURE)}
        jobs = await self._measure_jobs(rows["jobs"])
        items = [self._job_item(state, size, terms, runs, keeps_all) for state, size in jobs.items()]
        items += [self._item(growth, rows[growth.name], terms, runs, keeps_all) for growth in GROWING]
        items += [_found_item(name, chore, keep, runs) for name, chore, keep in _FOUND_IN_FOLDERS]
        return Retention(items, await self._pipelines(), keeps_all)

    async def _measure_jobs(self, whole: Row) -> dict[EndState | None, "_Size"]:
        """Return the sizes of the jobs in each final state, and under None those of the pinned ones."""
        shares = {row["state"]: row["share"] for row in await self._database.fetch(FETCH_SHARES)}
        total = max(whole["counted"], whole["estimate"], 1)
        sizes: dict[EndState | None, _Size] = {}
        for row in await self._database.fetch(MEASURE_JOBS, list(END_STATES)):
            estimate = round(total * shares.get(row["state"], 0))
            size = _Size.of(row["counted"], estimate, 0, row["oldest"])
            size.bytes = round(whole["bytes"] * min(1, size.rows / total))
            sizes[row["state"]] = size
        return sizes

    async def _pipelines(self) -> list[PipelineKeep]:
        return [
            PipelineKeep(
                terms.pipeline,
                terms.version,
                {state: format_term(term) for state, term in terms.own.items()},
            )
            for terms in await fetch_pipeline_terms(self._database)
            if terms.own is not None
        ]

    def _job_item(
        self,
        state: EndState | None,
        size: "_Size",
        terms: RetentionTerms,
        runs: Mapping[str, Row],
        keeps_all: bool,
    ) -> RetentionItem:
        if state is None:
            return _build("pinned_jobs", format_term(FOREVER), "job", size, _Times())
        because = self._because(state, keeps_all)
        keep = format_term(terms.of_state(state))
        return _build(f"{state}_jobs", keep, because, size, _Times.of("jobs", runs))

    def _item(
        self, growth: Growth, row: Row, terms: RetentionTerms, runs: Mapping[str, Row], keeps_all: bool
    ) -> RetentionItem:
        because: Reason = "job"
        keep = _WITH_ITS_JOB
        if growth.setting is not None:
            because, keep = (
                self._because(growth.setting, keeps_all),
                format_term(getattr(terms, growth.setting)),
            )
        elif (term := growth.keep or _FIXED.get(growth.name)) is not None:
            because, keep = "fixed", format_term(term) if term else _UNTIL_IT_EXPIRES
        size = _Size.of(row["counted"], row["estimate"], row["bytes"], row["oldest"])
        return _build(growth.name, keep, because, size, _Times.of(growth.rule, runs))

    def _because(self, kind: str, keeps_all: bool) -> Reason:
        if kind in self._chosen.named:
            return "setting"
        return "upgrade" if keeps_all else "default"


class _Size(Struct):
    rows: int
    is_estimate: bool
    bytes: int
    oldest: datetime | None

    @classmethod
    def of(cls, counted: int, estimate: int, size: int, oldest: datetime | None) -> "_Size":
        """Take the estimate only if not all rows were counted."""
        is_estimate = counted > COUNT_BOUND
        return cls(max(counted, estimate) if is_estimate else counted, is_estimate, size, oldest)


class _Times(Struct, frozen=True):
    """When a rule ran last, and when it runs next if there is a worker."""

    last: datetime | None = None
    next: datetime | None = None

    @classmethod
    def of(cls, name: str, runs: Mapping[str, Row]) -> "_Times":
        if (row := runs.get(name)) is None:
            return cls()
        last, next_run = row["succeeded_at"], row["next_run_at"]
        if next_run is None and last is not None:
            next_run = last + _HOURLY
        return cls(last, next_run if row["is_served"] else None)


def _found_item(name: str, chore: str, keep: str, runs: Mapping[str, Row]) -> RetentionItem:
    """Return what a chore has found in folders, where only workers look."""
    row = runs.get(name)
    size = _Size(0, False, 0, None)
    if row is not None and row["found"] is not None:
        size = _Size(row["found"], False, row["found_bytes"], row["found_oldest"])
    return _build(name, keep, "fixed", size, _Times.of(chore, runs))


def _build(name: str, keep: str, because: Reason, size: _Size, times: _Times) -> RetentionItem:
    return RetentionItem(
        name=name,
        keep=keep,
        because=because,
        rows=size.rows,
        is_estimate=size.is_estimate,
        bytes=size.bytes,
        oldest_at=size.oldest,
        last_run_at=times.last,
        next_run_at=times.next,
    )
