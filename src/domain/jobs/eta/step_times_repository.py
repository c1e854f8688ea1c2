"""The recent times of pipeline steps, from a bounded number of the newest jobs."""

from collections.abc import Sequence
from typing import Final

from headrace.domain.database import Database
from headrace.domain.jobs.eta.estimator import StepTime
from headrace.domain.pipelines.versions import VERSION_KEY_SQL, version_key

# Ids are UUIDv7, so the primary key serves as an index of the newest jobs. The items of a `for_each` step run
# in parallel, so an item's share is the time from the step's first start to its last end by their number.
_TIMES: Final = f"""
WITH newest AS (
    SELECT id, pipeline, version, state FROM jobs ORDER BY id DESC LIMIT 2000
), succeeded AS (
    SELECT id, pipeline, version FROM newest
    WHERE state = 'succeeded' AND {VERSION_KEY_SQL} = ANY($1::text[]) ORDER BY id DESC LIMIT 500
), runs AS (
    SELECT l.id, l.pipeline, l.version, r.name, r.started_at, r.finished_at
    FROM succeeded l JOIN step_runs r ON r.job_id = l.id
    WHERE r.state = 'succeeded' AND r.items IS NULL AND r.started_at IS NOT NULL LIMIT 20000
), spans AS (
    SELECT pipeline, version, name, count(*) AS items,
           extract(epoch FROM max(finished_at) - min(started_at))::float8 AS seconds
    FROM runs GROUP BY id, pipeline, version, name
)
SELECT pipeline, version, name, count(*) AS samples,
       percentile_cont(ARRAY[0.1, 0.9]) WITHIN GROUP (ORDER BY seconds / items) AS item,
       percentile_cont(ARRAY[0.1, 0.9]) WITHIN GROUP (ORDER BY seconds) AS whole
FROM spans GROUP BY pipeline, version, name
"""  # noqa: S608  (a fragment of this code base)


class StepTimesRepository:
    """Every call is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch(self, pipelines: Sequence[str]) -> dict[str, dict[str, StepTime]]:
        """Return the times of each of *pipelines* (`name@version`), by step; empty without recent jobs."""
        times: dict[str, dict[str, StepTime]] = {}
        for row in await self._database.fetch(_TIMES, list(pipelines)):
            times.setdefault(version_key(row["pipeline"], row["version"]), {})[row["name"]] = StepTime(
                samples=row["samples"],
                item=(row["item"][0], row["item"][1]),
                whole=(row["whole"][0], row["whole"][1]),
            )
        return times
