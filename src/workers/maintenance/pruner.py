"""Removes what is past its term, in small statements with pauses. One worker at a time does it for all."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from headrace.adapters.periodic import Sleep, run_every
from headrace.domain.chores.lease import ChoreLease
from headrace.domain.chores.repository import ChoreRepository
from headrace.domain.database import TRANSIENT, Database, DatabaseRefusingError, is_outage
from headrace.domain.retention.installation import resolve_terms
from headrace.domain.retention.rule import Rule, RulePutOffError
from headrace.domain.retention.rules import build_rules
from headrace.domain.retention.terms import ChosenTerms
from headrace.settings import Settings
from headrace.workers.claim_times import ClaimTimes
from headrace.workers.maintenance.chore_report import ChoreReport
from headrace.workers.maintenance.large_tables import LargeTableWatch
from headrace.workers.maintenance.prune_pace import PrunePace

_log = structlog.get_logger(__name__)

_TICK_SECONDS: Final = 10.0
_WATCH_SECONDS: Final = 3600.0
_FAILED_PAUSE: Final = timedelta(minutes=5)

TURN: Final = "retention"
"""The name of the turn to prune, in the table of chores."""

TURN_LENGTH: Final = timedelta(seconds=60)
"""If the holder of the turn is killed, another worker takes it after this time."""

_RENEW_SECONDS: Final = TURN_LENGTH.total_seconds() / 3


async def run_pruner(database: Database, settings: Settings, worker: str, claim_times: ClaimTimes) -> None:
    """Prune what is due whenever this worker has the turn, and warn of large tables, until cancelled.

    *database* bounds how long a statement waits for a lock.
    """
    pruner = Pruner(database, settings.kept, worker, pace=PrunePace(claim_times))
    watch = LargeTableWatch(database, settings.kept)
    async with asyncio.TaskGroup() as group:
        group.create_task(
            run_every(
                _TICK_SECONDS, pruner.run_due, put_off_event="prune_put_off", failed_event="prune_failed"
            )
        )
        group.create_task(
            run_every(
                _WATCH_SECONDS,
                watch.check,
                waits_first=False,
                put_off_event="tables_not_measured",
                failed_event="tables_not_measured",
            )
        )


class Pruner:
    """Runs the rules of retention when they are due, or all of them on request.

    A rule that fails holds up neither the others nor the worker's jobs.
    """

    def __init__(
        self,
        database: Database,
        chosen: ChosenTerms,
        holder: str,
        *,
        pace: PrunePace,
        now: Callable[[], Awaitable[datetime]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """*holder* takes the turn. *now* replaces the time of the database."""
        self._database = database
        self._chores = ChoreRepository(database)
        self._chosen = chosen
        self._turn = ChoreLease(database, holder, TURN, TURN_LENGTH)
        self._pace = pace
        self._report = ChoreReport(self._chores, holder)
        self._now = now or self._fetch_now
        self._sleep = sleep
        self._rules: Sequence[Rule] = ()
        self._clock = clock
        self._has_turn = False
        self._renewed_at = 0.0
        self.failures: dict[str, str] = {}
        """Why rules have failed in the last run."""

    async def run_due(self) -> int:
        """Run the rules that are due, unless another worker has the turn; return how many rows went."""
        due = await self._chores.fetch_due([rule.name for rule in await self.rules()])
        removed = await self.run_now(due) if due else None
        return 0 if removed is None else removed.total()

    async def run_now(self, names: Collection[str] | None = None) -> "Counter[str] | None":
        """Run these rules, by default all; return how many rows each has removed.

        None: another worker has the turn.
        """
        rules = [rule for rule in await self.rules() if names is None or rule.name in names]
        if not await self._take_turn():
            return None
        removed: Counter[str] = Counter()
        self.failures.clear()
        try:
            now = await self._now()
            for rule in rules:
                if self._has_turn:
                    await self._run(rule, now, removed)
        finally:
            # A turn that cannot be ended runs out.
            with contextlib.suppress(*TRANSIENT):
                await self._turn.release()
        if not self._has_turn:
            _log.warning("prune_turn_lost")
            self.failures["turn"] = "another worker has taken over"
        if removed.total():
            _log.info("pruned", **+removed)
        return removed

    async def count(self) -> dict[str, int]:
        """Return how many rows each rule would remove now."""
        now = await self._now()
        return {rule.name: await rule.count(now) for rule in await self.rules()}

    async def rules(self) -> Sequence[Rule]:
        """Return the rules on the terms of this installation."""
        if not self._rules:
            self._rules = build_rules(self._database, await resolve_terms(self._database, self._chosen))
        return self._rules

    async def _run(self, rule: Rule, now: datetime, removed: "Counter[str]") -> None:
        """Run one rule, and store when it is due again."""

        async def prune() -> int:
            await self._prune(rule, now, removed)
            return removed[rule.name]

        pause: timedelta | None = None
        try:
            await self._report.run(rule.name, prune)
        except RulePutOffError as error:
            _log.warning("prune_put_off", rule=rule.name, reason=str(error))
            self.failures[rule.name] = str(error)
            pause = rule.period
        except TRANSIENT as error:
            if not is_outage(error):
                _log.warning("prune_put_off", rule=rule.name, reason=error.reason)
            self.failures[rule.name] = str(error)
            pause = _pause_after(error, rule)
        except Exception as error:  # noqa: BLE001  (it runs again later)
            _log.exception("prune_failed", rule=rule.name)
            self.failures[rule.name] = str(error)
            pause = _FAILED_PAUSE
        # What cannot be stored now leaves the rule due.
        with contextlib.suppress(*TRANSIENT):
            if pause is not None:
                await self._chores.store_next_run(rule.name, pause)
            else:
                await self._chores.store_run(rule.name, rule.period if self._has_turn else timedelta(0))

    async def _prune(self, rule: Rule, now: datetime, removed: "Counter[str]") -> None:
        """Prune until nothing is left for the rule, or the turn is lost.

        Raises:
            RulePutOffError: the rule has left rows to its next pass.
        """
        is_last = False
        while self._has_turn and not is_last:
            began = time.monotonic()
            batch = await rule.prune(now, self._pace.rows)
            removed[rule.name] += batch.removed
            is_last = batch.is_last
            await self._pause(self._pace.pause_after(time.monotonic() - began))
            if batch.put_off is not None:
                raise RulePutOffError(batch.put_off)

    async def _pause(self, seconds: float) -> None:
        """Pause, and prolong the turn meanwhile."""
        while seconds > 0 and self._has_turn:
            await self._sleep(min(seconds, _RENEW_SECONDS))
            seconds -= _RENEW_SECONDS
            if self._clock() - self._renewed_at > _RENEW_SECONDS:
                await self._take_turn()

    async def _take_turn(self) -> bool:
        asked_at = self._clock()
        self._has_turn = await self._turn.acquire()
        if self._has_turn:
            self._renewed_at = asked_at
        return self._has_turn

    async def _fetch_now(self) -> datetime:
        now: datetime = (await self._database.fetch("SELECT statement_timestamp() AS now"))[0]["now"]
        return now


def _pause_after(error: Exception, rule: Rule) -> timedelta:
    """Return when a rule is tried again: soon after an outage, at its usual time after a lock of others."""
    if isinstance(error, DatabaseRefusingError):
        return _FAILED_PAUSE
    return timedelta(0) if is_outage(error) else rule.period
